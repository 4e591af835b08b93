import '@xterm/xterm/css/xterm.css';
import { Alert, Badge, Button, Code, Group, Paper, Stack, Switch, Text } from '@mantine/core';
import { FitAddon } from '@xterm/addon-fit';
import { WebLinksAddon } from '@xterm/addon-web-links';
import { Terminal } from '@xterm/xterm';
import { type ReactNode, useEffect, useId, useRef, useState } from 'react';
import type { SessionStatus } from '../api/client';
import { bufferText } from './bufferText';
import { type LinkState, openTerminalLink } from './link';

declare global {
  interface Window {
    /** The open terminal's text, for support and tests. */
    ravenTerminal?: { text(): string };
  }
}

const STATUS: Record<SessionStatus, { label: string; color: string }> = {
  pending: { label: 'Pending', color: 'gray' },
  connecting: { label: 'Connecting', color: 'blue' },
  active: { label: 'Connected', color: 'teal' },
  login_required: { label: 'Login required', color: 'orange' },
  disconnected: { label: 'Disconnected', color: 'gray' },
  terminated: { label: 'Session ended', color: 'gray' },
};

/** Lines kept above the visible screen. */
const SCROLLBACK_LINES = 10_000;

const FONT = 'ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace';

/** A live terminal for one session. Give it `key={sessionId}`: another session is another terminal. */
export function TerminalPane({ sessionId, actions }: { sessionId: string; actions: ReactNode }) {
  const screen = useRef<HTMLDivElement>(null);
  const terminal = useRef<Terminal>(null);
  const link = useRef<ReturnType<typeof openTerminalLink>>(null);
  const [state, setState] = useState<LinkState>({ status: 'connecting', attached: false, stopped: false });
  const [clickableLinks, setClickableLinks] = useState(false);
  const linksAreOn = useRef(false);
  const badge = useRef<HTMLDivElement>(null);
  const wayOut = useId();

  useEffect(() => {
    const term = new Terminal({
      fontFamily: FONT,
      fontSize: 13,
      scrollback: SCROLLBACK_LINES,
      disableStdin: true,
      theme: { background: '#16181d', foreground: '#e4e6eb' },
      // Links that the agent's output declares: their text may say something else than their address.
      linkHandler: {
        activate: (_event, text) => {
          const address = linksAreOn.current ? webAddress(text) : null;
          if (address && window.confirm(`Open a page of ${address.host}?`)) openPage(address.href);
        },
      },
    });
    // Tab belongs to the agent, so people without a mouse need another way out.
    term.attachCustomKeyEventHandler((event) => {
      if (!event.ctrlKey || !event.shiftKey || event.key !== 'Escape') return true;
      event.preventDefault();
      if (event.type === 'keydown') badge.current?.focus();
      return false;
    });
    const fit = new FitAddon();
    term.loadAddon(fit);
    term.open(screen.current!);
    fit.fit();
    const resizing = new ResizeObserver(() => fit.fit());
    resizing.observe(screen.current!);
    const opened = openTerminalLink(sessionId, term, (change) => setState((state) => ({ ...state, ...change })));
    const handle = { text: () => bufferText(term) };
    window.ravenTerminal = handle;
    terminal.current = term;
    link.current = opened;
    return () => {
      if (window.ravenTerminal === handle) delete window.ravenTerminal;
      opened.close();
      resizing.disconnect();
      term.dispose();
    };
  }, [sessionId]);

  useEffect(() => {
    linksAreOn.current = clickableLinks;
    if (!clickableLinks) return;
    const addon = new WebLinksAddon((_event, address) => openPage(address));
    terminal.current?.loadAddon(addon);
    return () => addon.dispose();
  }, [clickableLinks]);

  const ended = state.status === 'terminated';
  const reconnecting = !ended && !state.attached && !state.stopped && state.status !== 'connecting';
  const shown = reconnecting ? { label: 'Reconnecting', color: 'blue' } : STATUS[state.status];
  const login = state.login;
  const address = login?.url ? webAddress(login.url) : null;

  return (
    <Paper withBorder style={{ overflow: 'hidden' }}>
      <Group px="md" py="xs" justify="space-between">
        <Badge ref={badge} tabIndex={-1} data-testid="terminal-status" role="status" variant="light" color={shown.color} tt="none">
          {shown.label}
        </Badge>
        <Group gap="md">
          <Switch
            size="xs"
            label="Clickable links"
            checked={clickableLinks}
            onChange={(event) => setClickableLinks(event.currentTarget.checked)}
          />
          {!ended && actions}
        </Group>
      </Group>
      {login && (
        <Alert color="orange" radius={0} title="The agent waits for a login">
          <Stack gap="xs">
            {login.instructions && (
              <Text size="sm" style={{ whiteSpace: 'pre-wrap', overflowWrap: 'anywhere' }}>
                {login.instructions}
              </Text>
            )}
            {login.deviceCode && (
              <Text size="sm">
                Code: <Code>{login.deviceCode}</Code>
              </Text>
            )}
            {address && (
              <Group justify="space-between">
                <Text size="sm">The link leads to {address.host}.</Text>
                <Button component="a" href={address.href} target="_blank" rel="noopener noreferrer" size="xs" color="orange">
                  Login
                </Button>
              </Group>
            )}
          </Stack>
        </Alert>
      )}
      {state.problem && (
        <Alert color="red" radius={0}>
          {state.problem}
        </Alert>
      )}
      {ended && (
        <Alert color="gray" radius={0} title="This session is over">
          Nothing typed here reaches the agent any more. The last output stays below until you leave this page.
        </Alert>
      )}
      {!ended && state.stopped && (
        <Group px="md" pb="xs">
          <Text size="sm">This terminal is no longer attached.</Text>
          <Button size="xs" variant="light" onClick={() => link.current?.retry()}>
            Reconnect
          </Button>
        </Group>
      )}
      <div className="terminal-frame">
        <div
          ref={screen}
          className="terminal-screen"
          data-testid="terminal"
          aria-label="Terminal"
          aria-describedby={wayOut}
          role="group"
        />
      </div>
      <Text id={wayOut} size="xs" c="dimmed" px="md" py={4}>
        Ctrl+Shift+Escape leaves the terminal.
      </Text>
    </Paper>
  );
}

/** Opens a page that learns nothing of this one. */
function openPage(address: string) {
  window.open(address, '_blank', 'noopener,noreferrer');
}

/** The address if it is an http or https one; anything else is not offered as a link. */
function webAddress(text: string): URL | null {
  const address = URL.canParse(text) ? new URL(text) : null;
  return address && ['http:', 'https:'].includes(address.protocol) ? address : null;
}
