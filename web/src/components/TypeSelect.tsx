import { NativeSelect } from '@mantine/core';
import { useActivityTypes } from '../api/queries';
import { activityTitle } from '../words';

type Props = { agentId?: string; value: string; onChange: (type: string) => void };

/** Chooses one of the activity types that there are, of one agent if given; an empty value means all. */
export function TypeSelect({ agentId, value, onChange }: Props) {
  const types = useActivityTypes(agentId);
  // A type from the page's address may not have happened yet.
  const known = value === '' || types.includes(value) ? types : [value, ...types];
  return (
    <NativeSelect
      label="Type"
      data={[{ value: '', label: 'All types' }, ...known.map((type) => ({ value: type, label: activityTitle(type) }))]}
      value={value}
      onChange={(event) => onChange(event.currentTarget.value)}
    />
  );
}
