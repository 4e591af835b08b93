import { Badge, Group } from '@mantine/core';
import type { AgentStatus, Run } from '../api/client';

const AGENT_COLOR: Record<AgentStatus, string> = {
  pending: 'orange',
  approved: 'teal',
  denied: 'gray',
  revoked: 'red',
};

const RUN: Record<Run['status'], { label: string; color: string }> = {
  spawning: { label: 'Spawning', color: 'blue' },
  starting: { label: 'Starting', color: 'blue' },
  login_required: { label: 'Login required', color: 'orange' },
  ready: { label: 'Running', color: 'teal' },
  stopping: { label: 'Stopping', color: 'blue' },
  stopped: { label: 'Stopped', color: 'gray' },
  failed: { label: 'Failed', color: 'red' },
};

/** Where the agent stands with the admins. */
export function StatusBadge({ status }: { status: AgentStatus }) {
  return (
    <Badge variant="light" color={AGENT_COLOR[status]} tt="capitalize">
      {status}
    </Badge>
  );
}

/** What the agent's process is doing. */
export function RunBadge({ run }: { run: Run }) {
  const { label, color } = RUN[run.status];
  return (
    <Badge variant="dot" color={color} tt="none">
      {label}
    </Badge>
  );
}

/** Permission or capability names. */
export function NameBadges({ names }: { names: string[] }) {
  return (
    <Group gap={6}>
      {names.map((name) => (
        <Badge key={name} variant="default" tt="none" fw={500}>
          {name}
        </Badge>
      ))}
    </Group>
  );
}
