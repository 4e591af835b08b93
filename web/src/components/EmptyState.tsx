import { Paper, Stack, Text } from '@mantine/core';
import type { ReactNode } from 'react';

/** What to show when a list is empty: that it is, and what to do about it. */
export function EmptyState({ title, children }: { title: string; children: ReactNode }) {
  return (
    <Paper withBorder py={48} px="md">
      <Stack align="center" gap={4}>
        <Text fw={600}>{title}</Text>
        <Text size="sm" c="dimmed" ta="center" maw={460}>
          {children}
        </Text>
      </Stack>
    </Paper>
  );
}
