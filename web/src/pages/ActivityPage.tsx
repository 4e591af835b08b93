import { Paper, Stack, Title } from '@mantine/core';
import { useWorkspaceActivity } from '../api/queries';
import { ActivityList } from '../components/ActivityList';

export function ActivityPage() {
  const activity = useWorkspaceActivity();
  return (
    <Stack>
      <Title order={1} size="h3">
        Activity
      </Title>
      <Paper withBorder p="md">
        <ActivityList activity={activity} showAgent />
      </Paper>
    </Stack>
  );
}
