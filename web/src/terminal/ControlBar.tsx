import { Badge, Button, Group, Popover, Stack, Text } from '@mantine/core';
import { useState } from 'react';
import type { TerminalViewer } from '../api/client';
import { FormDialog } from '../components/FormDialog';
import { counted } from '../words';
import type { LinkState, TerminalLink } from './link';

type Props = { state: LinkState; link: TerminalLink };

/** Who watches, who controls the terminal, and the buttons by which that changes. */
export function ControlBar({ state, link }: Props) {
  const { canWrite, controller, viewerId } = state;
  const mine = controller !== null && controller.viewerId === viewerId;
  const asking = mine ? state.viewers.filter((viewer) => viewer.wantsControl && viewer.viewerId !== viewerId) : [];
  if (!state.attached || !viewerId) return null;
  return (
    // Its parts stand beside the status, and wrap one by one where there is little room.
    <div role="group" aria-label="Control" style={{ display: 'contents' }}>
      {!canWrite && (
        <Badge variant="light" color="gray" tt="none">
          Read-only
        </Badge>
      )}
      <Badge data-testid="terminal-controller" role="status" variant="light" color={mine ? 'teal' : 'blue'} tt="none">
        {controller === null ? 'Open to all who may type' : mine ? 'You control' : `${controller.name} controls`}
        {controller !== null && controller.viewerId === null && ', and is away'}
      </Badge>
      {asking.map((viewer) => (
        <Button key={viewer.viewerId} size="compact-xs" variant="light" onClick={() => link.handOver(viewer.viewerId)}>
          Hand over to {viewer.name}, who asks
        </Button>
      ))}
      {canWrite && <ControlButtons state={state} link={link} mine={mine} />}
      <Viewers state={state} link={link} mine={mine} />
    </div>
  );
}

function ControlButtons({ state, link, mine }: Props & { mine: boolean }) {
  const { controller, viewers, viewerId, canTerminate } = state;
  const [forcing, setForcing] = useState(false);
  const asked = viewers.some((viewer) => viewer.viewerId === viewerId && viewer.wantsControl);
  if (mine) {
    return (
      <Button size="compact-xs" variant="default" onClick={link.releaseControl}>
        Release control
      </Button>
    );
  }
  const own = controller !== null && viewers.some((viewer) => viewer.viewerId === viewerId && viewer.userId === controller.userId);
  if (controller === null || own) {
    return (
      <Button size="compact-xs" variant="default" onClick={() => link.takeControl(false)}>
        Take control
      </Button>
    );
  }
  return (
    <>
      <Button size="compact-xs" variant="default" disabled={asked} onClick={link.requestControl}>
        {asked ? 'Asked for control' : 'Ask for control'}
      </Button>
      {canTerminate && (
        <Button size="compact-xs" variant="default" onClick={() => setForcing(true)}>
          Take over
        </Button>
      )}
      {forcing && (
        <FormDialog
          title="Take control"
          submit="Take over"
          danger
          pending={false}
          error={null}
          onSubmit={() => {
            link.takeControl(true);
            setForcing(false);
          }}
          onClose={() => setForcing(false)}
        >
          <Text size="sm">{controller.name} can then not type any more. That you took control is on record.</Text>
        </FormDialog>
      )}
    </>
  );
}

function Viewers({ state, link, mine }: Props & { mine: boolean }) {
  const unlisted = state.viewerCount - state.viewers.length;
  return (
    <Popover position="bottom-end" width={300} shadow="md" trapFocus returnFocus>
      <Popover.Target>
        <Button size="compact-xs" variant="subtle">
          {counted(state.viewerCount, 'viewer')}
        </Button>
      </Popover.Target>
      <Popover.Dropdown>
        <Stack component="ul" aria-label="Viewers" gap="xs" p={0} m={0} mah={320} style={{ listStyle: 'none', overflowY: 'auto' }}>
          {state.viewers.map((viewer) => (
            <Group component="li" key={viewer.viewerId} justify="space-between" wrap="nowrap">
              <Text size="sm" truncate>
                {viewer.name}
                {viewer.viewerId === state.viewerId && ' (this page)'}
                <Text span size="xs" c="dimmed">
                  {' '}
                  {part(viewer)}
                </Text>
              </Text>
              {mine && viewer.canWrite && viewer.viewerId !== state.viewerId && (
                <Button size="compact-xs" variant="light" onClick={() => link.handOver(viewer.viewerId)} aria-label={`Hand over to ${viewer.name}`}>
                  Hand over
                </Button>
              )}
            </Group>
          ))}
          {unlisted > 0 && (
            <Text component="li" size="sm" c="dimmed">
              and {unlisted} more
            </Text>
          )}
        </Stack>
      </Popover.Dropdown>
    </Popover>
  );
}

function part(viewer: TerminalViewer): string {
  if (viewer.controls) return 'controls';
  if (viewer.wantsControl) return 'asks for control';
  return viewer.canWrite ? 'may type' : 'watches';
}
