import { NativeSelect, type NativeSelectProps } from '@mantine/core';

const HOUR_MS = 3_600_000;

/** Lifetimes on offer, in hours; an empty value means no end. */
const LIFETIMES = [
  { value: '1', label: 'In 1 hour' },
  { value: '24', label: 'In 1 day' },
  { value: '168', label: 'In 7 days' },
  { value: '720', label: 'In 30 days' },
  { value: '8760', label: 'In 1 year' },
  { value: '', label: 'Never' },
];

type Props = Pick<NativeSelectProps, 'description' | 'error'> & {
  label?: string;
  hours: string;
  onChange: (hours: string) => void;
};

/** Asks when something ends; turn the answer into a moment with `endAfter`. */
export function LifetimeSelect({ label = 'Expires', hours, onChange, ...rest }: Props) {
  return (
    <NativeSelect
      label={label}
      data={LIFETIMES}
      value={hours}
      onChange={(event) => onChange(event.currentTarget.value)}
      {...rest}
    />
  );
}

/** The moment that many hours from now, or undefined for never. */
export function endAfter(hours: string): string | undefined {
  return hours ? new Date(Date.now() + Number(hours) * HOUR_MS).toISOString() : undefined;
}
