import type { AgentType } from '../api/client';

/** What a type of agents may be called: the service refuses every other name. */
export const AGENT_TYPE_NAME = /^[a-z0-9][a-z0-9_-]{0,39}$/;

/** Types of agents that can be spawned, with their names for people. */
export const AGENT_TYPES: { value: AgentType; label: string }[] = [
  { value: 'claude-code', label: 'Claude Code' },
  { value: 'codex', label: 'Codex' },
  { value: 'gemini-cli', label: 'Gemini CLI' },
  { value: 'aider', label: 'Aider' },
  { value: 'custom', label: 'Custom command' },
];
