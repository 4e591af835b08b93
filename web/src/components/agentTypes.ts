import type { AgentType } from '../api/client';

/** Types of agents that can be spawned, with their names for people. */
export const AGENT_TYPES: { value: AgentType; label: string }[] = [
  { value: 'claude-code', label: 'Claude Code' },
  { value: 'codex', label: 'Codex' },
  { value: 'gemini-cli', label: 'Gemini CLI' },
  { value: 'aider', label: 'Aider' },
  { value: 'custom', label: 'Custom command' },
];
