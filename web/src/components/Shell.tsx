import { Avatar, Badge, Box, Button, Container, Group, Popover, SegmentedControl, Text, UnstyledButton } from '@mantine/core';
import { type MantineColorScheme, useMantineColorScheme, VisuallyHidden } from '@mantine/core';
import { useMutation } from '@tanstack/react-query';
import type { ReactNode } from 'react';
import { NavLink } from 'react-router';
import { api, type Me } from '../api/client';
import { useLiveUpdates } from '../api/events';
import { showSignIn, useApprovals, useIsAdmin } from '../api/queries';
import { ErrorNote } from './ErrorNote';

/** The frame around every signed-in page; it also keeps the pages' data live. */
export function Shell({ me, children }: { me: Me; children: ReactNode }) {
  useLiveUpdates();
  const isAdmin = useIsAdmin();
  return (
    <>
      <Box component="header" className="header">
        <Container size="lg" py="xs">
          <Group justify="space-between" gap="xs">
            <Text fw={700} truncate maw={{ base: 260, sm: 240 }}>
              {me.workspace.name}
            </Text>
            <Group component="nav" className="header-nav" gap={4} aria-label="Main">
              <NavLink to="/agents">Agents</NavLink>
              <NavLink to="/approvals">
                Approvals
                {isAdmin && <WaitingBadge />}
              </NavLink>
              {isAdmin && <NavLink to="/invites">Invites</NavLink>}
              <NavLink to="/api-keys">API keys</NavLink>
              {isAdmin && <NavLink to="/activity">Activity</NavLink>}
              <NavLink to="/settings">Settings</NavLink>
            </Group>
            <UserMenu user={me.user} />
          </Group>
        </Container>
      </Box>
      <Container component="main" size="lg" py="lg" tabIndex={-1}>
        {children}
      </Container>
    </>
  );
}

/** How many tool calls wait for a decision. */
function WaitingBadge() {
  const approvals = useApprovals();
  const count = approvals.data?.length ?? 0;
  if (count === 0) return null;
  return (
    <Badge ml={6} size="sm" circle={count < 100} color="orange" autoContrast>
      {approvals.hasNextPage ? `${count}+` : count}
      <VisuallyHidden> waiting</VisuallyHidden>
    </Badge>
  );
}

function UserMenu({ user }: { user: Me['user'] }) {
  const { colorScheme, setColorScheme } = useMantineColorScheme();
  const signOut = useMutation({ mutationFn: api.signOut, onSuccess: showSignIn });
  return (
    <Popover position="bottom-end" width={260} shadow="md" trapFocus>
      <Popover.Target>
        <UnstyledButton aria-label="User menu">
          <Avatar src={user.avatarUrl} name={user.name ?? user.email} color="initials" size={34} />
        </UnstyledButton>
      </Popover.Target>
      <Popover.Dropdown>
        <Text fw={600} truncate>
          {user.name}
        </Text>
        <Text size="xs" c="dimmed" truncate>
          {user.email} · {user.role}
        </Text>
        <SegmentedControl
          my="md"
          fullWidth
          size="xs"
          aria-label="Color scheme"
          value={colorScheme}
          onChange={(scheme) => setColorScheme(scheme as MantineColorScheme)}
          data={[
            { value: 'light', label: 'Light' },
            { value: 'dark', label: 'Dark' },
            { value: 'auto', label: 'System' },
          ]}
        />
        <ErrorNote error={signOut.error} />
        <Button fullWidth variant="default" loading={signOut.isPending} onClick={() => signOut.mutate()}>
          Sign out
        </Button>
      </Popover.Dropdown>
    </Popover>
  );
}
