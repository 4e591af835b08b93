import { TextInput } from '@mantine/core';
import { useMutation } from '@tanstack/react-query';
import { api, fieldError } from '../api/client';
import { refreshAll } from '../api/queries';
import { Credentials } from '../components/Credentials';
import { EntryCard } from '../components/EntryCard';

/** Creates the first workspace and its owner. */
export function SetupPage() {
  const setup = useMutation({ mutationFn: api.setup, onSuccess: refreshAll });
  return (
    <EntryCard
      title="Welcome to Raven Agents"
      explanation="Create the workspace and your owner account. You can then invite agents and decide what they may do."
      submit="Create workspace"
      pending={setup.isPending}
      error={setup.error}
      onSubmit={(fields) =>
        setup.mutate({
          workspaceName: String(fields.get('workspaceName')).trim(),
          name: String(fields.get('name')).trim(),
          email: String(fields.get('email')).trim(),
          password: String(fields.get('password')),
        })
      }
    >
      <TextInput
        label="Workspace name"
        name="workspaceName"
        minLength={3}
        maxLength={50}
        required
        autoFocus
        error={fieldError(setup.error, 'workspaceName')}
      />
      <TextInput
        label="Your name"
        name="name"
        maxLength={50}
        autoComplete="name"
        required
        error={fieldError(setup.error, 'name')}
      />
      <Credentials password="new" error={setup.error} />
    </EntryCard>
  );
}
