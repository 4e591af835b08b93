import { useState } from 'react';
import { type Agent, api, type Receipt } from '../api/client';
import { announce } from '../notify';
import { ApproveDialog } from './ApproveDialog';
import { ReasonDialog } from './ReasonDialog';
import { ReceiptDialog } from './ReceiptDialog';

/** A decision about an agent, as it was when somebody began to decide. */
export type AgentQuestion = { kind: 'approve' | 'deny' | 'revoke'; agent: Agent };

/**
 * The dialog of a decision. It belongs to the page: an agent may leave the list that it was chosen from as
 * soon as it is decided, and what the dialog then shows is shown once.
 */
export function AgentDialog({ question, onClose }: { question: AgentQuestion; onClose: () => void }) {
  const { kind, agent } = question;
  if (kind === 'approve') return <ApproveDialog agent={agent} onClose={onClose} />;
  if (kind === 'revoke') return <RevokeDialog agent={agent} onClose={onClose} />;
  return (
    <ReasonDialog
      title={`Deny ${agent.name}`}
      explanation="The agent is told the reason and may ask again."
      submit="Deny"
      act={(reason) => api.deny(agent.id, reason)}
      onDone={() => {
        announce(`${agent.name} is denied.`);
        onClose();
      }}
      onClose={onClose}
    />
  );
}

function RevokeDialog({ agent, onClose }: { agent: Agent; onClose: () => void }) {
  const [receipt, setReceipt] = useState<Receipt | null>(null);
  if (receipt) return <ReceiptDialog title={`${agent.name} is revoked`} receipt={receipt} onClose={onClose} />;
  return (
    <ReasonDialog
      title={`Revoke ${agent.name}`}
      explanation="Ends its keys, connections, terminals, assignments and process at once. Only an admin can bring it back."
      submit="Revoke"
      act={(reason) => api.revoke(agent.id, reason)}
      onDone={(revoked) => setReceipt(revoked.receipt)}
      onClose={onClose}
    />
  );
}
