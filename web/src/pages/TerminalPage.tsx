import { Anchor, Box, Group } from '@mantine/core';
import { Link, useLocation, useParams } from 'react-router';
import { useLiveUpdates } from '../api/events';
import { EndSession, ShareTerminal } from '../components/LiveTerminal';
import { TerminalPane } from '../terminal/TerminalPane';

/** One terminal on a page of its own. A share's token stands behind the `#`, which the browser sends to nobody. */
export function TerminalPage() {
  useLiveUpdates();
  const { sessionId = '' } = useParams();
  const share = new URLSearchParams(useLocation().hash.slice(1)).get('share') ?? undefined;
  return (
    <Box component="main" className="terminal-page" tabIndex={-1}>
      <Group px="md" py={4}>
        <Anchor component={Link} to="/agents" size="sm">
          ← All agents
        </Anchor>
      </Group>
      <TerminalPane
        key={`${sessionId} ${share}`}
        sessionId={sessionId}
        share={share}
        fills
        actions={({ canWrite, canTerminate }) => (
          <>
            {canWrite && <ShareTerminal sessionId={sessionId} />}
            {canTerminate && <EndSession sessionId={sessionId} />}
          </>
        )}
      />
    </Box>
  );
}
