import { useEffect } from 'react';
import { io } from 'socket.io-client';
import { alarm } from '../notify';
import { refreshAgents, refreshLive, refreshMe, refreshOf } from './queries';

/** A burst of events (ten agents starting at once) causes one refresh. */
const BURST_MS = 100;

/** What an event changes that is about no agent in particular, by the first word of its name. */
const CONCERNED: Record<string, string[]> = {
  runtime: ['runtimes', 'runtime', 'settings'],
  settings: ['settings', 'runtimes', 'runtime', 'activity'],
  invite: ['invites', 'activity'],
  key: ['own-keys', 'keys', 'activity'],
  approval: ['approvals', 'activity', 'agent'],
  terminal: ['activity'],
};

type Payload = { agent?: { id?: string; name?: string }; label?: string };

/** Refreshes what an event concerns whenever the service reports one, and everything after a reconnect or a gap. */
export function useLiveUpdates() {
  useEffect(() => {
    let timer: number | undefined;
    let agentIds = new Set<string>();
    const refreshSoon = (agentId: string) => {
      agentIds.add(agentId);
      timer ??= window.setTimeout(() => {
        void refreshAgents(agentIds);
        agentIds = new Set();
        timer = undefined;
      }, BURST_MS);
    };
    const socket = io({ transports: ['websocket'] });
    socket.on('connect', () => void refreshLive());
    socket.on('Unauthorized', () => void refreshMe());
    socket.onAny((event: string, payload?: Payload) => {
      if (event === 'agent:secret_leaked' && payload?.agent) {
        alarm(`${payload.agent.name ?? payload.agent.id} showed a secret`, `See the agent's page about “${payload.label}”.`);
      }
      if (event.startsWith('agent:') && payload?.agent?.id) refreshSoon(payload.agent.id);
      const concerned = CONCERNED[event.split(':', 1)[0] ?? ''];
      if (concerned) void refreshOf(concerned);
    });
    socket.on('events:gap', () => void refreshLive());
    return () => {
      window.clearTimeout(timer);
      socket.disconnect();
    };
  }, []);
}
