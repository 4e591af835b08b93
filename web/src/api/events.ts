import { useEffect } from 'react';
import { io } from 'socket.io-client';
import { refreshAgents, refreshLive, refreshMe, refreshRuntimes } from './queries';

/** A burst of events (ten agents starting at once) causes one refresh. */
const BURST_MS = 100;

/** Refreshes what an agent's event concerns whenever the service reports one, and everything after a reconnect. */
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
    socket.onAny((event: string, payload?: { agent?: { id?: string } }) => {
      if (event.startsWith('agent:') && payload?.agent?.id) refreshSoon(payload.agent.id);
      if (event.startsWith('runtime:')) void refreshRuntimes();
    });
    return () => {
      window.clearTimeout(timer);
      socket.disconnect();
    };
  }, []);
}
