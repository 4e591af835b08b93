/** The text as a sentence: the service's messages begin in lower case and have no period. */
export function sentence(text: string): string {
  const trimmed = text.trim();
  const capital = trimmed.charAt(0).toUpperCase() + trimmed.slice(1);
  return /[.!?]$/.test(capital) ? capital : `${capital}.`;
}

/** Characters that change how others are shown, or that nobody sees; line breaks and tabs that structure a text stay. */
const UNSEEN = /(?![\n\t])[\p{Cf}\p{Cc}\p{Zl}\p{Zp}\u{fe00}-\u{fe0f}\u{e0100}-\u{e01ef}\u{3164}\u{115f}\u{1160}\u{2800}\u{ffa0}]/gu;

/** What others wrote and a person decides by, with every character that hides in it shown by its number: "\u{200b}". */
export function seen(text: string): string {
  return text.replace(UNSEEN, (character) => `\\u{${character.codePointAt(0)?.toString(16)}}`);
}

/** "1 key", "2 keys". */
export function counted(count: number, noun: string, plural = `${noun}s`): string {
  return `${count} ${count === 1 ? noun : plural}`;
}

/** "40 seconds", "2 minutes", "1 hour": whole units, rounded up. */
export function duration(seconds: number): string {
  if (seconds < 90) return counted(Math.ceil(seconds), 'second');
  if (seconds < 5400) return counted(Math.ceil(seconds / 60), 'minute');
  return counted(Math.ceil(seconds / 3600), 'hour');
}

/** "1:05", "2:00:09": a time of a player. */
export function clock(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  const two = (number: number) => String(number).padStart(2, '0');
  const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60];
  return hours > 0 ? `${hours}:${two(minutes)}:${two(seconds % 60)}` : `${minutes}:${two(seconds % 60)}`;
}

/** "12 KB", "3.4 MB". */
export function size(bytes: number): string {
  if (bytes < 1000) return counted(bytes, 'byte');
  if (bytes < 1_000_000) return `${Math.round(bytes / 1000)} KB`;
  return `${(bytes / 1_000_000).toFixed(1)} MB`;
}

/** An activity type for people: "access_approved" reads as "Access approved". */
export function activityTitle(activityType: string): string {
  const words = activityType.replaceAll('_', ' ');
  return words.charAt(0).toUpperCase() + words.slice(1);
}
