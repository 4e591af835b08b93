import { Button, Group, Stack } from '@mantine/core';
import type { UseMutationResult } from '@tanstack/react-query';
import { useMutation } from '@tanstack/react-query';
import type { ReactNode } from 'react';
import { type AgentSettings, api, fieldError, type UpdateSettings } from '../api/client';
import { refreshLive } from '../api/queries';
import { announce } from '../notify';
import { ErrorNote } from './ErrorNote';
import { Section } from './Section';

export type SaveSettings = UseMutationResult<AgentSettings, Error, UpdateSettings>;

/** Saves settings and says so with `message`. `onSaved` lets go of what was typed. */
export function useSaveSettings(message: string, onSaved: () => void): SaveSettings {
  return useMutation({
    mutationFn: api.updateSettings,
    // What was typed stays on the page until what was stored is there to take its place.
    onSuccess: async () => {
      await refreshLive();
      onSaved();
      announce(message);
    },
    // What was sent may hold the runtime's key.
    gcTime: 0,
  });
}

type Props = {
  title: string;
  readOnly: boolean;
  /** Whether there is something to save. */
  changed: boolean;
  save: SaveSettings;
  onSubmit: () => void;
  /** Goes back to what is stored. */
  onReset: () => void;
  children: ReactNode;
};

/** One part of the settings, with a button of its own to save it. */
export function SettingsForm({ title, readOnly, changed, save, onSubmit, onReset, children }: Props) {
  return (
    <Section title={title}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          onSubmit();
        }}
      >
        <Stack>
          {children}
          {!fieldError(save.error, 'runtimeEndpoint') && <ErrorNote error={save.error} />}
          {!readOnly && (
            <Group>
              <Button type="submit" disabled={!changed} loading={save.isPending}>
                Save
              </Button>
              {changed && (
                <Button
                  variant="default"
                  onClick={() => {
                    save.reset();
                    onReset();
                  }}
                >
                  Discard changes
                </Button>
              )}
            </Group>
          )}
        </Stack>
      </form>
    </Section>
  );
}
