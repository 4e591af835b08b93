import '@xterm/xterm/css/xterm.css';
import { Alert, Badge, Button, Code, Group, Paper, Stack, Switch, Text } from '@mantine/core';
import { FitAddon } from '@xterm/addon-fit';
import { WebLinksAddon } from '@xterm/addon-web-links';
import { Terminal } from '@xterm/xterm';
import { type ReactNode, useEffect, useId, useRef, useState } from 'react';
import type { SessionStatus } from '../api/client';
import { bufferText } from './bufferText';
import { ControlBar } from './ControlBar';
import { type LinkState, mayType, openTerminalLink, type TerminalLink, UNLINKED } from './link';

declare global {
  interface Window {
    /** The open terminal's text, for support and tests. */
    ravenTerminal?: { text(): string };
  }
}

/** What is said in place of the session's status where the page has no part in it. */
const RECONNECTING = { label: 'Reconnecting', color: 'blue' };
const DETACHED = { label: 'Not attached', color: 'gray' };

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

/** Sizes of the font in pixels: where the terminal has the size of the page, and at least where it is made to fit. */
const FONT_PX = 13;
const FONT_PX_MIN = 5;

type Props = {
  sessionId: string;
  /** The token of a share, by which the viewer comes. */
  share?: string;
  /** Whether the terminal takes all the height that there is. */
  fills?: boolean;
  /** What else can be done with the session, as far as the person may. */
  actions: (state: LinkState) => ReactNode;
};

/** A live terminal for one session. Give it `key={sessionId}`: another session is another terminal. */
export function TerminalPane({ sessionId, share, fills = false, actions }: Props) {
  const screen = useRef<HTMLDivElement>(null);
  const terminal = useRef<Terminal>(null);
  const [link, setLink] = useState<TerminalLink | null>(null);
  const [state, setState] = useState<LinkState>(UNLINKED);
  const [clickableLinks, setClickableLinks] = useState(false);
  const linksAreOn = useRef(false);
  const badge = useRef<HTMLDivElement>(null);
  const wayOut = useId();

  useEffect(() => {
    const term = new Terminal({
      fontFamily: FONT,
      fontSize: FONT_PX,
      scrollback: SCROLLBACK_LINES,
      disableStdin: true,
      theme: { background: '#16181d', foreground: '#e4e6eb' },
      // Links that the agent's output declares: their text may say something else than their address.
      linkHandler: { activate: (_event, text) => linksAreOn.current && askAndOpen(text) },
    });
    // A program may put nothing onto the person's clipboard, whatever the emulator learns to do.
    const clipboard = term.parser.registerOscHandler(52, () => true);
    term.attachCustomKeyEventHandler((event) => {
      if (!event.ctrlKey || !event.shiftKey) return true;
      if (event.code === 'KeyC' && term.hasSelection()) {
        event.preventDefault();
        if (event.type === 'keydown') void navigator.clipboard.writeText(term.getSelection());
        return false;
      }
      // Tab belongs to the agent, so people without a mouse need another way out.
      if (event.key !== 'Escape') return true;
      event.preventDefault();
      if (event.type === 'keydown') badge.current?.focus();
      return false;
    });
    const fit = new FitAddon();
    term.loadAddon(fit);
    term.open(screen.current!);
    let last = UNLINKED;
    const lay = () => layOut(term, fit, last, opened);
    const opened = openTerminalLink(sessionId, share, term, (now) => {
      const before = last;
      last = now;
      setState(now);
      if (mayType(now) && !mayType(before)) lay();
      else if (now.size !== before.size || mayType(now) !== mayType(before)) follow(term, fit, now);
    });
    fit.fit();
    const resizing = new ResizeObserver(lay);
    resizing.observe(screen.current!);
    const handle = { text: () => bufferText(term) };
    window.ravenTerminal = handle;
    terminal.current = term;
    setLink(opened);
    return () => {
      if (window.ravenTerminal === handle) delete window.ravenTerminal;
      opened.close();
      resizing.disconnect();
      clipboard.dispose();
      term.dispose();
    };
  }, [sessionId, share]);

  useEffect(() => {
    linksAreOn.current = clickableLinks;
    if (!clickableLinks) return;
    const addon = new WebLinksAddon((_event, address) => askAndOpen(address));
    terminal.current?.loadAddon(addon);
    return () => addon.dispose();
  }, [clickableLinks]);

  const ended = state.status === 'terminated';
  const reconnecting = !ended && !state.attached && !state.stopped && state.status !== 'connecting';
  const shown = !ended && state.stopped ? DETACHED : reconnecting ? RECONNECTING : STATUS[state.status];
  const login = state.login;
  const address = login?.url ? webAddress(login.url) : null;

  return (
    <Paper withBorder className={fills ? 'terminal-fills' : undefined} style={{ overflow: 'hidden' }}>
      <Group px="md" py="xs" justify="space-between">
        <Group gap="xs">
          <Badge ref={badge} tabIndex={-1} data-testid="terminal-status" role="status" variant="light" color={shown.color} tt="none">
            {shown.label}
          </Badge>
          {!ended && link && <ControlBar state={state} link={link} />}
        </Group>
        <Group gap="md">
          <Switch
            size="xs"
            label="Clickable links"
            checked={clickableLinks}
            onChange={(event) => setClickableLinks(event.currentTarget.checked)}
          />
          {!ended && actions(state)}
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
        <Alert color="red" radius={0} role="alert">
          {state.problem}
        </Alert>
      )}
      {ended && (
        <Alert color="gray" radius={0} title="This session is over">
          Nothing typed here reaches the agent any more. The last output stays below until you leave this page.
        </Alert>
      )}
      {state.shareEnded && (
        <Alert color="gray" radius={0} role="alert">
          This link has ended or was revoked; ask whoever sent it.
        </Alert>
      )}
      {!ended && state.stopped && !state.shareEnded && (
        <Group px="md" pb="xs">
          <Text size="sm">This terminal is no longer attached.</Text>
          <Button size="xs" variant="light" onClick={() => link?.retry()}>
            Reconnect
          </Button>
        </Group>
      )}
      <div className="terminal-frame" hidden={state.shareEnded}>
        <div
          ref={screen}
          className="terminal-screen"
          data-testid="terminal"
          aria-label="Terminal"
          aria-describedby={wayOut}
          role="group"
        />
      </div>
      <Text id={wayOut} size="xs" c="dimmed" px="md" py={4} hidden={state.shareEnded}>
        Ctrl+Shift+Escape leaves the terminal, Ctrl+Shift+C copies and Ctrl+Shift+V pastes.
      </Text>
    </Paper>
  );
}

/** Gives the terminal the size of the page where the person may type, and the page's terminal the agent's where not. */
function layOut(term: Terminal, fit: FitAddon, state: LinkState, link: TerminalLink) {
  if (!mayType(state)) return follow(term, fit, state);
  term.options.fontSize = FONT_PX;
  fit.fit();
  link.resize({ cols: term.cols, rows: term.rows });
}

/** Takes the size that the agent's terminal has, in letters so small that all of it is in view. */
function follow(term: Terminal, fit: FitAddon, state: LinkState) {
  if (!state.size || !state.attached) return;
  const { cols, rows } = state.size;
  if (!mayType(state)) {
    term.options.fontSize = FONT_PX;
    const room = fit.proposeDimensions();
    const ratio = room ? Math.min(1, room.cols / cols, room.rows / rows) : 1;
    term.options.fontSize = Math.max(FONT_PX_MIN, Math.floor(FONT_PX * ratio));
  }
  if (term.cols !== cols || term.rows !== rows) term.resize(cols, rows);
}

/** Opens a page after asking, if it is one of the web; it learns nothing of this one. */
function askAndOpen(text: string) {
  const address = webAddress(text);
  if (address && window.confirm(`Open a page of ${address.host}?`)) {
    window.open(address.href, '_blank', 'noopener,noreferrer');
  }
}

/** The address if it is an http or https one; anything else is not offered as a link. */
function webAddress(text: string): URL | null {
  const address = URL.canParse(text) ? new URL(text) : null;
  return address && ['http:', 'https:'].includes(address.protocol) ? address : null;
}
