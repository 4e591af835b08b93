import { Anchor, Button, Text } from '@mantine/core';
import { useMutation } from '@tanstack/react-query';
import { useEffect, useState } from 'react';
import { Link } from 'react-router';
import { api } from '../api/client';
import { refreshLive, useSession } from '../api/queries';
import { announce } from '../notify';
import { TerminalPane } from '../terminal/TerminalPane';
import { EmptyState } from './EmptyState';
import { ErrorNote } from './ErrorNote';
import { FormDialog } from './FormDialog';
import { Loading } from './Loading';
import { ShareDialog } from './ShareDialog';

/** The agent's current terminal. An ended one stays on screen until the next begins or the page is left. */
export function LiveTerminal({ agentId }: { agentId: string }) {
  const session = useSession(agentId);
  const liveId = session.data?.id;
  const [shownId, setShownId] = useState(liveId);
  useEffect(() => {
    if (liveId) setShownId(liveId);
  }, [liveId]);

  if (shownId) {
    return (
      <TerminalPane
        key={shownId}
        sessionId={shownId}
        actions={({ canWrite, canTerminate }) => (
          <>
            <Anchor component={Link} to={`/terminal/${shownId}`} size="xs">
              Full page
            </Anchor>
            {canWrite && <ShareTerminal sessionId={shownId} />}
            {canTerminate && <EndSession sessionId={shownId} />}
          </>
        )}
      />
    );
  }
  if (session.error) return <ErrorNote error={session.error} onRetry={() => void session.refetch()} />;
  if (session.isPending) return <Loading what="terminal" />;
  return (
    <EmptyState title="No live terminal">
      A terminal opens here as soon as this agent runs on the workspace's runtime and you may watch it.
    </EmptyState>
  );
}

/** The button that makes and revokes links to the terminal. */
export function ShareTerminal({ sessionId }: { sessionId: string }) {
  const [sharing, setSharing] = useState(false);
  return (
    <>
      <Button size="compact-xs" variant="default" onClick={() => setSharing(true)}>
        Share
      </Button>
      {sharing && <ShareDialog sessionId={sessionId} onClose={() => setSharing(false)} />}
    </>
  );
}

/** The button that ends the session, once that is confirmed. */
export function EndSession({ sessionId }: { sessionId: string }) {
  const [asking, setAsking] = useState(false);
  const end = useMutation({
    mutationFn: () => api.endSession(sessionId),
    onSuccess: () => {
      announce('The terminal session is ended.');
      setAsking(false);
    },
    onSettled: refreshLive,
  });
  return (
    <>
      <Button size="compact-xs" variant="default" onClick={() => setAsking(true)}>
        End session
      </Button>
      {asking && (
        <FormDialog
          title="End this terminal session"
          submit="End"
          danger
          pending={end.isPending}
          error={end.error}
          onSubmit={() => end.mutate()}
          onClose={() => setAsking(false)}
        >
          <Text size="sm">This stops the agent too. Everyone watching is disconnected at once, without its last words.</Text>
        </FormDialog>
      )}
    </>
  );
}
