import { useMutation } from '@tanstack/react-query';
import { api } from '../api/client';
import { refreshMe } from '../api/queries';
import { Credentials } from '../components/Credentials';
import { EntryCard } from '../components/EntryCard';

export function SignInPage({ workspaceName }: { workspaceName: string }) {
  const signIn = useMutation({ mutationFn: api.signIn, onSuccess: refreshMe });
  return (
    <EntryCard
      title={workspaceName}
      explanation="Sign in to see and direct the workspace's agents."
      submit="Sign in"
      pending={signIn.isPending}
      error={signIn.error}
      onSubmit={(fields) =>
        signIn.mutate({ email: String(fields.get('email')).trim(), password: String(fields.get('password')) })
      }
    >
      <Credentials password="current" error={signIn.error} />
    </EntryCard>
  );
}
