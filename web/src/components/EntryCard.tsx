import { Box, Button, Center, Paper, Stack, Text, Title } from '@mantine/core';
import type { FormEvent, ReactNode } from 'react';
import { ErrorNote } from './ErrorNote';

type Props = {
  title: string;
  explanation: string;
  submit: string;
  pending: boolean;
  error: Error | null;
  onSubmit: (fields: FormData) => void;
  children: ReactNode;
};

/** The centred form of the pages before the console: setup and sign-in. */
export function EntryCard({ title, explanation, submit, pending, error, onSubmit, children }: Props) {
  const submitFields = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    onSubmit(new FormData(event.currentTarget));
  };
  return (
    <Center component="main" mih="100dvh" p="md">
      <Box w="100%" maw={400}>
        <Title order={1} size="h2" ta="center">
          {title}
        </Title>
        <Text c="dimmed" size="sm" ta="center" mt={6} mb="lg">
          {explanation}
        </Text>
        <Paper withBorder p="lg" component="form" onSubmit={submitFields}>
          <Stack>
            {children}
            <ErrorNote error={error} />
            <Button type="submit" fullWidth loading={pending}>
              {submit}
            </Button>
          </Stack>
        </Paper>
      </Box>
    </Center>
  );
}
