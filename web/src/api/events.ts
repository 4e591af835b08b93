import { useEffect } from 'react';
import { io } from 'socket.io-client';
import { refreshLive, refreshMe } from './queries';

/** A burst of events (ten agents starting at once) causes one refresh. */
const BURST_MS = 100;

/** Refreshes agents, invites, sessions and activity whenever the service reports a change, and after a reconnect. */
export function useLiveUpdates() {
  useEffect(() => {
    let timer: number | undefined;
    const refreshSoon = () => {
      window.clearTimeout(timer);
      timer = window.setTimeout(() => void refreshLive(), BURST_MS);
    };
    const socket = io({ transports: ['websocket'] });
    socket.on('connect', refreshSoon);
    socket.on('Unauthorized', () => void refreshMe());
    socket.onAny((event: string) => {
      if (event.startsWith('agent:')) refreshSoon();
    });
    return () => {
      window.clearTimeout(timer);
      socket.disconnect();
    };
  }, []);
}
