import { Anchor, Box, Button, Group, Paper, Stack, Text, Title } from '@mantine/core';
import { useMutation } from '@tanstack/react-query';
import { useState } from 'react';
import { Link } from 'react-router';
import { api, type ToolApproval } from '../api/client';
import { refreshLive, useApprovals, useIsAdmin, useMe, usePersonName, useSettings } from '../api/queries';
import { CallParams } from '../components/CallParams';
import { EmptyState } from '../components/EmptyState';
import { ErrorNote } from '../components/ErrorNote';
import { FormDialog } from '../components/FormDialog';
import { Loading } from '../components/Loading';
import { Time } from '../components/Time';
import { announce } from '../notify';
import { seen } from '../words';

/** Whether the person's own key asked, and somebody else has to approve. The service checks it again. */
function useIsAnothersToApprove({ agentId, requestedBy }: ToolApproval) {
  const me = useMe().data?.user.id;
  const isAllowed = useSettings().data?.allowOwnApproval;
  return !agentId && requestedBy === me && !isAllowed;
}

/** Tool calls and permissions that wait for a decision, the one that was asked for first on top. */
export function ApprovalsPage() {
  const isAdmin = useIsAdmin();
  const approvals = useApprovals();
  return (
    <Stack>
      <Title order={1} size="h3">
        Approvals
      </Title>
      <Text size="sm" c="dimmed">
        {isAdmin
          ? 'Tool calls of agents and people that an owner or admin has to approve, and permissions that agents ask for.'
          : 'Tool calls that your own keys asked for. Owners and admins decide about them, and about those of agents.'}
      </Text>
      <ErrorNote error={approvals.error} onRetry={() => void approvals.refetch()} />
      {approvals.isPending && <Loading what="approvals" />}
      {approvals.data?.length === 0 && (
        <EmptyState title="Nothing waits">Sensitive tool calls appear here until somebody decides or they expire.</EmptyState>
      )}
      {approvals.data?.map((approval) => <ApprovalCard key={approval.token} approval={approval} />)}
      {approvals.hasNextPage && (
        <Button variant="default" loading={approvals.isFetchingNextPage} onClick={() => void approvals.fetchNextPage()}>
          Show more
        </Button>
      )}
    </Stack>
  );
}

function ApprovalCard({ approval }: { approval: ToolApproval }) {
  const { token, kind, params, named, expiresAt, createdAt } = approval;
  const asked = params as { permission?: string; minutes?: number };
  const method = kind === 'permission' ? `${asked.permission} for ${asked.minutes} minutes` : approval.method;
  const isAnothers = useIsAnothersToApprove(approval);
  const [isAsked, setAsked] = useState(false);
  const decide = useMutation({
    mutationFn: async (approve: boolean) => void (await (approve ? api.approveCall(token) : api.denyCall(token))),
    onSuccess: (_, approve) =>
      announce(
        !approve
          ? `${method} is denied.`
          : kind === 'permission'
            ? `The agent has ${method}.`
            : `${method} is approved. The caller may repeat exactly this call, once.`,
      ),
    onSettled: refreshLive,
  });
  return (
    <Paper withBorder p="md" component="article" aria-label={method}>
      <Group justify="space-between" align="flex-start" gap="sm" mb="sm">
        <Box flex="1 1 260px" miw={0}>
          <Text fw={600} className="mono">
            {method}
          </Text>
          <Text size="xs" c="dimmed">
            <Caller of={approval} /> · asked <Time at={createdAt} /> · expires <Time at={expiresAt} />
          </Text>
          <Reason of={approval} />
          {isAnothers && (
            <Text size="sm">Your own key asked: another owner or admin approves it, unless Settings, Tools lets people do so.</Text>
          )}
        </Box>
        <Group gap="xs">
          {!isAnothers && (
            <Button
              size="xs"
              aria-label={`Approve ${method}`}
              disabled={decide.isPending}
              onClick={() => setAsked(true)}
            >
              Approve
            </Button>
          )}
          <Button
            size="xs"
            variant="default"
            aria-label={`Deny ${method}`}
            loading={decide.isPending && !decide.variables}
            disabled={decide.isPending}
            onClick={() => decide.mutate(false)}
          >
            Deny
          </Button>
        </Group>
      </Group>
      {kind === 'call' && <CallParams params={params} named={named} />}
      {isAsked && (
        // Asked for by itself: the list may change under the pointer, and what is approved cannot be taken back.
        <FormDialog
          title={`Approve ${method}?`}
          submit="Approve"
          pending={decide.isPending}
          error={decide.error}
          onSubmit={() => decide.mutate(true, { onSuccess: () => setAsked(false) })}
          onClose={() => setAsked(false)}
        >
          <Text size="sm">
            For <Caller of={approval} />
          </Text>
          <Reason of={approval} />
          {kind === 'call' && <CallParams params={params} named={named} />}
        </FormDialog>
      )}
      <Box mt={decide.error ? 'sm' : 0}>
        <ErrorNote error={isAsked ? null : decide.error} />
      </Box>
    </Paper>
  );
}

/** Why it waits; what the caller says of it is told as that, since it may say anything. */
function Reason({ of: { kind, askedInAdvance, agentId, reason } }: { of: ToolApproval }) {
  if (!reason) return null;
  const isSaid = kind === 'permission' || askedInAdvance;
  return (
    <Text size="sm" style={{ overflowWrap: 'anywhere' }}>
      {isSaid ? `${agentId ? 'The agent' : 'The caller'} says: ${seen(reason)}` : reason}
    </Text>
  );
}

function Caller({ of: { agentId, requestedBy } }: { of: ToolApproval }) {
  const personName = usePersonName();
  if (!agentId) return <>{(requestedBy && personName(requestedBy)) ?? 'a person of the workspace'}</>;
  return (
    <Anchor component={Link} to={`/agents/${encodeURIComponent(agentId)}`} size="xs" className="mono">
      {agentId}
    </Anchor>
  );
}
