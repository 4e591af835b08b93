import { Button, Group, Paper, Select, Stack, TextInput, Title } from '@mantine/core';
import { useSearchParams } from 'react-router';
import { useAgents } from '../api/queries';
import { ActivityFeed } from '../components/ActivityFeed';
import { DailyChart } from '../components/DailyChart';
import { Section } from '../components/Section';
import { TypeSelect } from '../components/TypeSelect';

/** The filters, as the page's address names them; the days are `YYYY-MM-DD` and both included. */
const FILTERS = ['type', 'agent', 'since', 'until'] as const;

export function ActivityPage() {
  const [search, setSearch] = useSearchParams();
  const [type, agentId, since, until] = FILTERS.map((name) => search.get(name) ?? '') as [string, string, string, string];
  const set = (name: (typeof FILTERS)[number], value: string | null) =>
    setSearch(
      (before) => {
        const next = new URLSearchParams(before);
        if (value) next.set(name, value);
        else next.delete(name);
        return next;
      },
      { replace: true },
    );
  const backwards = since !== '' && until !== '' && until < since;

  return (
    <Stack>
      <Title order={1} size="h3">
        Activity
      </Title>
      <Paper withBorder p="md" role="search" aria-label="Filters">
        <Group align="flex-end" gap="sm">
          <TypeSelect value={type} onChange={(value) => set('type', value)} />
          <AgentSelect value={agentId} onChange={(value) => set('agent', value)} />
          <TextInput
            label="From"
            type="date"
            value={since}
            onChange={(event) => set('since', event.currentTarget.value)}
          />
          <TextInput
            label="To"
            type="date"
            value={until}
            error={backwards && 'Ends before it begins.'}
            onChange={(event) => set('until', event.currentTarget.value)}
          />
          {FILTERS.some((name) => search.has(name)) && (
            <Button variant="default" onClick={() => setSearch({}, { replace: true })}>
              Clear filters
            </Button>
          )}
        </Group>
      </Paper>
      <Section title="Per day">
        <DailyChart agentId={agentId || undefined} type={type || undefined} />
      </Section>
      <Section title="Entries">
        <ActivityFeed
          key={search.toString()}
          filter={{
            type: type || undefined,
            agentId: agentId || undefined,
            since: startOf(since, 0),
            until: startOf(until, 1),
          }}
          showAgent
        />
      </Section>
    </Stack>
  );
}

/** The beginning of a local day, or of the one `later` days after it; undefined for what is no day. */
function startOf(day: string, later: number): string | undefined {
  const date = new Date(`${day}T00:00:00`);
  if (Number.isNaN(date.getTime())) return undefined;
  date.setDate(date.getDate() + later);
  return date.toISOString();
}

/** Agents that are listed at once while one is searched for. */
const LISTED_MAX = 50;

function AgentSelect({ value, onChange }: { value: string; onChange: (agentId: string | null) => void }) {
  const agents = useAgents().data ?? [];
  const options = agents.map(({ id, name }) => ({ value: id, label: name === id ? id : `${name} (${id})` }));
  // The feed keeps rows of agents that are gone.
  if (value && !agents.some(({ id }) => id === value)) options.unshift({ value, label: value });
  return (
    <Select
      label="Agent"
      placeholder="All agents"
      searchable
      clearable
      clearButtonProps={{ 'aria-label': 'All agents' }}
      limit={LISTED_MAX}
      nothingFoundMessage="No such agent"
      data={options}
      value={value || null}
      onChange={onChange}
    />
  );
}
