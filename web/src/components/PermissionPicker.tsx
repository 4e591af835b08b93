import { Checkbox, Fieldset, SimpleGrid, Stack, Text } from '@mantine/core';
import type { Permission } from '../api/client';
import { usePermissions } from '../api/queries';
import { ErrorNote } from './ErrorNote';
import { Loading } from './Loading';

type Props = {
  label: string;
  value: string[];
  onChange: (value: string[]) => void;
  /** What an agent asked for; it is marked. */
  requested?: string[];
  error?: string;
  disabled?: boolean;
};

/** Checkboxes for every permission of the catalogue, one group per category. */
export function PermissionPicker({ label, value, onChange, requested = [], error, disabled }: Props) {
  const catalogue = usePermissions();
  if (catalogue.error) return <ErrorNote error={catalogue.error} onRetry={() => void catalogue.refetch()} />;
  if (!catalogue.data) return <Loading what="permissions" />;
  return (
    <Fieldset legend={label} p="sm">
      <Checkbox.Group value={value} onChange={onChange} aria-label={label} error={error} disabled={disabled}>
        <Stack gap="sm">
          {[...byCategory(catalogue.data.permissions)].map(([category, permissions]) => (
            <div key={category}>
              <Text size="xs" fw={600} c="dimmed" tt="capitalize" mb={6}>
                {category}
              </Text>
              <SimpleGrid cols={{ base: 1, xs: 2 }} spacing={8} verticalSpacing={8}>
                {permissions.map((permission) => (
                  <Checkbox
                    key={permission.id}
                    size="xs"
                    value={permission.id}
                    label={permission.id}
                    description={
                      requested.includes(permission.id) ? `Requested. ${permission.description}` : permission.description
                    }
                  />
                ))}
              </SimpleGrid>
            </div>
          ))}
        </Stack>
      </Checkbox.Group>
      <Text size="xs" c="dimmed" mt="xs">
        {value.length} selected
      </Text>
    </Fieldset>
  );
}

function byCategory(permissions: Permission[]): Map<string, Permission[]> {
  const groups = new Map<string, Permission[]>();
  for (const permission of permissions) {
    groups.set(permission.category, [...(groups.get(permission.category) ?? []), permission]);
  }
  return groups;
}
