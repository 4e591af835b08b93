import { Stack, Text } from '@mantine/core';
import { registerCommand } from '../api/client';
import { CopyField } from './CopyField';
import { McpClients } from './McpClients';

/** An invite's token and the command that registers an agent with it. */
export function InviteInstructions({ token }: { token: string }) {
  return (
    <Stack>
      <Text size="sm">
        Give the token to whoever runs the agent. Registering answers with the agent's own API key; whoever holds the
        token can register, so treat it like a password.
      </Text>
      <CopyField label="token" value={token} />
      <CopyField label="command" value={registerCommand(token)} />
      <Text size="sm">With the key, a client of MCP has the workspace's tools:</Text>
      <McpClients />
    </Stack>
  );
}
