import { NativeSelect, Stack, Text } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { api } from '../api/client';
import { CopyField } from './CopyField';
import { ErrorNote } from './ErrorNote';

/** What makes an MCP client know this service, for the client that is chosen. The key is not part of it. */
export function McpClients() {
  const known = useQuery({ queryKey: ['mcp-config'], queryFn: api.mcpConfig, staleTime: Infinity });
  const [chosen, setChosen] = useState<string>();
  if (known.error) return <ErrorNote error={known.error} onRetry={() => void known.refetch()} />;
  const client = known.data?.clients.find(({ id }) => id === chosen) ?? known.data?.clients[0];
  if (!known.data || !client) return null;
  return (
    <Stack gap="xs">
      <NativeSelect
        label="Client"
        data={known.data.clients.map(({ id, name }) => ({ value: id, label: name }))}
        value={client.id}
        onChange={(event) => setChosen(event.currentTarget.value)}
      />
      <Text size="sm" c="dimmed">
        Belongs into {client.file}. The client reads the key from the variable {known.data.keyVariable} of its environment.
      </Text>
      <CopyField label="configuration" value={client.text} />
    </Stack>
  );
}
