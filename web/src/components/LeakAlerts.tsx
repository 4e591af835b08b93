import { Alert, Anchor, Stack, Text } from '@mantine/core';
import { Link } from 'react-router';
import type { Activity, Agent } from '../api/client';
import { useActivity, useAgentKeys } from '../api/queries';
import { isGood } from './KeyList';
import { Time } from './Time';

/** Where the page of an agent has its keys. */
export const KEYS_PLACE = 'keys';

/** How long a leak is shown of which this page does not know whether it is dealt with, in milliseconds. */
const SHOWN_MS = 7 * 24 * 3_600_000;

/** Alerts shown at the most. */
const ALERTS_MAX = 5;

/** Secrets that the agent's terminals showed and that may be good still. For admins only. */
export function LeakAlerts({ agent }: { agent: Agent }) {
  const leaks = useActivity({ agentId: agent.id, type: 'secret_leaked' }).data?.data ?? [];
  const keys = useAgentKeys(agent.id).data?.keys;
  const alerts = leaks.filter((leak) => {
    const { secretKind, secretId } = factsOf(leak);
    const key = secretKind === 'key' && keys?.find(({ id }) => id === secretId);
    return key ? isGood(key) : Date.now() - new Date(leak.createdAt).getTime() < SHOWN_MS;
  });
  return alerts.slice(0, ALERTS_MAX).map((leak) => {
    const { secretKind, secretId } = factsOf(leak);
    const isOwn = secretKind === 'key' && keys?.some(({ id }) => id === secretId);
    return (
      <Alert key={leak.id} color="red" role="alert" title="A secret was shown in this agent's terminal">
        <Stack gap={4}>
          <Text size="sm" style={{ overflowWrap: 'anywhere' }}>
            {leak.description} · <Time at={leak.createdAt} />
          </Text>
          {isOwn && (
            <Anchor href={`#${KEYS_PLACE}`} size="sm">
              Revoke the key
            </Anchor>
          )}
          {secretKind === 'key' && !isOwn && (
            <Anchor component={Link} to="/api-keys" size="sm">
              Revoke it under API keys, if it is yours
            </Anchor>
          )}
          {secretKind === 'invite' && (
            <Anchor component={Link} to="/invites" size="sm">
              Revoke the invite
            </Anchor>
          )}
        </Stack>
      </Alert>
    );
  });
}

function factsOf({ metadata }: Activity): { secretKind?: unknown; secretId?: unknown } {
  return metadata ?? {};
}
