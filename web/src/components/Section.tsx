import { Group, Paper, Title } from '@mantine/core';
import { type ReactNode, useId } from 'react';

/** A titled part of a page, with its buttons beside the title. */
export function Section({ title, actions, children }: { title: string; actions?: ReactNode; children: ReactNode }) {
  const heading = useId();
  return (
    <Paper component="section" withBorder p="md" aria-labelledby={heading}>
      <Group justify="space-between" mb="sm" gap="xs">
        <Title order={2} size="h6" id={heading}>
          {title}
        </Title>
        {actions}
      </Group>
      {children}
    </Paper>
  );
}
