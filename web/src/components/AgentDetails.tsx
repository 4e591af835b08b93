import type { Agent } from '../api/client';
import { NameBadges } from './Badges';
import { Fact } from './Fact';
import { Section } from './Section';
import { Time } from './Time';

/** The agent's facts; those that do not apply are left out. */
export function AgentDetails({ agent }: { agent: Agent }) {
  const { run } = agent;
  return (
    <Section title="Details">
      <dl className="facts">
        <Fact term="Id">
          <span className="mono">{agent.id}</span>
        </Fact>
        {agent.capabilities.length > 0 && (
          <Fact term="Capabilities">
            <NameBadges names={agent.capabilities} />
          </Fact>
        )}
        {agent.endpoint && (
          <Fact term="Endpoint">
            <span className="mono">{agent.endpoint}</span>
          </Fact>
        )}
        <Fact term="Requested">
          <Time at={agent.requestedAt} />
        </Fact>
        {agent.resolvedAt && (
          <Fact term="Decided">
            <Time at={agent.resolvedAt} />
            {agent.inviteId && ', by invite'}
          </Fact>
        )}
        {agent.denialReason && <Fact term="Denied because">{agent.denialReason}</Fact>}
        {agent.revokedAt && (
          <Fact term="Revoked">
            <Time at={agent.revokedAt} />
          </Fact>
        )}
        {agent.revocationReason && <Fact term="Revoked because">{agent.revocationReason}</Fact>}
        {run && <Fact term="Agent type">{run.agentType}</Fact>}
        {run && <Fact term="Runtime">{run.runtime}</Fact>}
        {run?.startedAt && (
          <Fact term="Started">
            <Time at={run.startedAt} />
          </Fact>
        )}
        {run?.stoppedAt && (
          <Fact term="Stopped">
            <Time at={run.stoppedAt} />
            {run.exitCode != null && `, exit code ${run.exitCode}`}
          </Fact>
        )}
        {run?.reason && <Fact term="Reason">{run.reason}</Fact>}
      </dl>
    </Section>
  );
}
