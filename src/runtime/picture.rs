//! The screen of one terminal: a model that is fed off the path of the bytes to viewers, and only as far as somebody
//! needs it.
//!
//! As long as little was printed since the model was last fed, it is left as it is: whoever asks for the screen has the
//! rest fed first. A model that is far behind starts over close to the end, in the modes that the terminal had there:
//! what a screen shows depends on the last bytes only. One that nobody needs for a while is kept as what draws it.

use std::{
    sync::{Arc, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use terminal_screen::{Modes, Screen};
use tokio::{
    task::spawn_blocking,
    time::{Instant, sleep, sleep_until},
};

use super::pty::{Input, State, Terminal};
use crate::model::terminal::Size;

/// A model that is this many bytes behind is fed by the terminal itself: a screen that is asked for then costs a
/// millisecond at most.
pub(super) const FEED_BYTES: u64 = 64 * 1024;
/// The terminal itself feeds its model at most this often, so that a flood, most of which is then passed over, costs a
/// bounded share of a core.
const FEED_EVERY: Duration = Duration::from_millis(30);
/// A model that nobody needed for this long is parked.
const QUIET: Duration = Duration::from_secs(5);
/// Answers to queries in one second: a program asks a dozen questions when it starts, and one that asks without end is
/// not typed full.
const ANSWERS_PER_SECOND: u32 = 50;
/// A model that is this many bytes behind starts over.
const BEHIND_MAX: u64 = 256 * 1024;
/// How many of the last bytes it then still reads: some thirty plain screens of 80×24.
const KEPT_WHEN_BEHIND: u64 = 64 * 1024;
/// A drawing is given out again while no more than this was printed since, in bytes, or for [`DRAWN_AGAIN_FOR`]: the
/// viewer reads the rest. So fifty viewers that come, or fall behind, at once cost one.
const DRAWN_AGAIN_WITHIN: u64 = 16 * 1024;
/// In a flood that nobody can read, fifty viewers get thirty drawings in a second, and not five hundred.
const DRAWN_AGAIN_FOR: Duration = Duration::from_millis(30);

/// A screen of more characters than this takes some milliseconds to draw, which no other task shall wait for.
const DRAWN_AT_ONCE: u32 = 32 * 1024;

/// A screen as bytes that draw it, and where the output goes on.
#[derive(Clone)]
pub(super) struct Drawn {
    pub(super) drawing: Bytes,
    pub(super) offset: u64,
    pub(super) size: Size,
}

impl Terminal {
    /// The screen as it stands.
    pub(super) fn draw(&self) -> Drawn {
        let mut picture = self.picture();
        let (end, size) = {
            let state = self.lock();
            (state.ring.end(), state.size)
        };
        if let Some(drawn) = picture.drawn(end, size, Instant::now()) {
            return drawn;
        }
        self.catch_up(&mut picture, end);
        let drawn = picture.draw();
        drop(picture);
        // What is kept for the next viewer is let go of later, and a model that is still there parked.
        self.behind.notify_one();
        drawn
    }

    /// The screen as it stands, drawn where it keeps no other task waiting.
    pub(super) async fn drawn(self: &Arc<Self>) -> Drawn {
        let size = self.size();
        if u32::from(size.cols()) * u32::from(size.rows()) > DRAWN_AT_ONCE {
            let terminal = Arc::clone(self);
            if let Ok(drawn) = spawn_blocking(move || terminal.draw()).await {
                return drawn;
            }
        }
        self.draw()
    }

    /// Feeds the model, answers queries and parks the model, for ever.
    pub(super) async fn look_after(&self) {
        let mut feed_at = Instant::now();
        let mut due = false;
        let mut budget = Budget { until: Instant::now(), left: 0 };
        loop {
            let live = self.picture().is_live() || !self.texts.is_empty();
            tokio::select! {
                biased;
                () = self.asked.notified() => self.answer(&mut budget),
                () = self.behind.notified(), if !due => due = self.lock().is_behind(),
                () = sleep_until(feed_at), if due => {
                    self.catch_up(&mut self.picture(), self.end());
                    feed_at = Instant::now() + FEED_EVERY;
                    due = false;
                }
                () = sleep(QUIET), if live && !due => self.park(),
            }
        }
    }

    fn answer(&self, budget: &mut Budget) {
        loop {
            let Some((asked, noted)) = self.lock().asked.front().copied() else { return };
            let may_answer = budget.spend();
            // The model may be behind the question already, for somebody's drawing; then it noted the cursor on its way.
            if may_answer && noted.is_none() && asked.query.needs_cursor() {
                self.catch_up(&mut self.picture(), asked.position);
            }
            let noted = self.lock().asked.pop_front().and_then(|(_, noted)| noted);
            if !may_answer {
                tracing::debug!(session.id = %self.session(), "a program asks its terminal too much");
                continue;
            }
            let cursor = match noted {
                Some(cursor) => cursor,
                None if asked.query.needs_cursor() => self.picture().cursor(),
                None => (1, 1),
            };
            let state = self.lock();
            let answer = asked.query.answer(cursor, state.size);
            if let Some(input) = &state.input
                && !input.try_send(Input::Bytes(answer.into()))
            {
                tracing::debug!(session.id = %self.session(), "no room to answer a query");
            }
        }
    }

    /// Feeds the model up to this position, unless it is there.
    fn catch_up(&self, picture: &mut Picture, until: u64) {
        loop {
            // The terminal is locked for each step only: output goes on meanwhile.
            let step = self.lock().step(picture.fed(), until);
            match step {
                Step::StartOver { position, modes } => picture.start_over(position, modes),
                Step::Resize(size) => picture.resize(size),
                Step::Feed(bytes) => picture.feed(&bytes),
                Step::NoteCursor => {
                    let cursor = picture.cursor();
                    self.lock().note_cursor(picture.fed(), cursor);
                }
                Step::Done => return,
            }
        }
    }

    fn park(&self) {
        let mut picture = self.picture();
        let mut state = self.lock();
        if state.output_at.elapsed() >= QUIET {
            state.ring.forget_read();
            drop(state);
            self.texts.forget();
            self.catch_up(&mut picture, self.end());
            picture.park();
        }
    }

    fn picture(&self) -> MutexGuard<'_, Picture> {
        // A model that fails starts over by itself.
        self.picture.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What comes next for a model.
enum Step {
    StartOver {
        position: u64,
        modes: Modes,
    },
    Resize(Size),
    Feed(Bytes),
    /// A question that wants to know the cursor ends here.
    NoteCursor,
    Done,
}

impl State {
    /// Whether the model is to be fed.
    pub(super) fn is_behind(&self) -> bool {
        self.ring.end().saturating_sub(self.fed) >= FEED_BYTES
    }

    /// What comes next for a model that is fed up to `fed` and is to come up to `until`.
    fn step(&mut self, fed: u64, until: u64) -> Step {
        self.fed = fed;
        let start = self.ring.start();
        if fed < start || until.saturating_sub(fed) > BEHIND_MAX {
            let wanted = start.max(until.saturating_sub(KEPT_WHEN_BEHIND));
            let found = self.filter.restart(wanted).filter(|(position, _)| *position >= start && *position > fed);
            if let Some((position, modes)) = found {
                return Step::StartOver { position, modes };
            }
            if fed < start {
                return Step::StartOver { position: start, modes: self.filter.modes() };
            }
        }
        let next_size = self.sizes.front().copied();
        if let Some((position, size)) = next_size
            && position <= fed
        {
            self.sizes.pop_front();
            return Step::Resize(size);
        }
        let until = next_size.map_or(until, |(position, _)| position.min(until));
        let mut open = self.asked.iter().filter(|(asked, noted)| noted.is_none() && asked.query.needs_cursor());
        let until = match open.find(|(asked, _)| asked.position >= fed) {
            Some((asked, _)) if asked.position == fed => return Step::NoteCursor,
            Some((asked, _)) => asked.position.min(until),
            None => until,
        };
        let bytes = self.ring.read_raw(fed, usize::try_from(until.saturating_sub(fed)).unwrap_or(usize::MAX));
        if bytes.is_empty() { Step::Done } else { Step::Feed(bytes) }
    }
}

impl State {
    /// Notes where the cursor was at the questions that end at `position`.
    fn note_cursor(&mut self, position: u64, cursor: (u16, u16)) {
        for (_, noted) in self.asked.iter_mut().filter(|(asked, _)| asked.position == position) {
            *noted = Some(cursor);
        }
    }
}

/// How many answers are still given in this second.
struct Budget {
    until: Instant,
    left: u32,
}

impl Budget {
    fn spend(&mut self) -> bool {
        let now = Instant::now();
        if now >= self.until {
            *self = Self { until: now + Duration::from_secs(1), left: ANSWERS_PER_SECOND };
        }
        let left = self.left.checked_sub(1);
        self.left = left.unwrap_or_default();
        left.is_some()
    }
}

/// What a terminal shows.
pub(super) struct Picture {
    model: Model,
    size: Size,
    /// Position of the next byte to feed.
    fed: u64,
    /// What was last drawn, and when.
    drawn: Option<(Instant, Drawn)>,
    /// Its drawing would not be whole, so it is not parked until it changes.
    stays: bool,
}

enum Model {
    Live(Box<Screen>),
    /// What draws it on a blank terminal, and the character that is not finished yet.
    Parked {
        drawing: Bytes,
        pending: Vec<u8>,
    },
}

impl Picture {
    /// A blank screen at this position.
    pub(super) fn new(position: u64, size: Size) -> Self {
        Self { model: Model::Parked { drawing: Bytes::new(), pending: Vec::new() }, size, fed: position, drawn: None, stays: false }
    }

    /// Position of the next byte to feed.
    pub(super) fn fed(&self) -> u64 {
        self.fed
    }

    /// Takes in what the terminal printed next.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.stays = false;
        self.fed += bytes.len() as u64;
        self.screen().feed(bytes);
    }

    pub(super) fn resize(&mut self, size: Size) {
        self.size = size;
        self.stays = false;
        self.screen().resize(screen_size(size));
    }

    /// Goes on at `position` with an empty screen in these modes.
    pub(super) fn start_over(&mut self, position: u64, modes: Modes) {
        self.fed = position;
        self.stays = false;
        self.screen().start_over_in(modes);
    }

    /// The column and the row of the cursor, counted from one.
    pub(super) fn cursor(&mut self) -> (u16, u16) {
        self.screen().cursor()
    }

    /// What was drawn last, if it is good enough `now`, when the output ends at `end`.
    pub(super) fn drawn(&self, end: u64, size: Size, now: Instant) -> Option<Drawn> {
        let (at, drawn) = self.drawn.as_ref()?;
        let recent = end.saturating_sub(drawn.offset) <= DRAWN_AGAIN_WITHIN || now.duration_since(*at) < DRAWN_AGAIN_FOR;
        (recent && drawn.size == size).then(|| drawn.clone())
    }

    /// Draws the screen as far as it is fed. A character that is not finished yet comes behind it.
    pub(super) fn draw(&mut self) -> Drawn {
        let screen = self.screen();
        let (drawing, unfinished) = (snapshot(screen), screen.pending().len() as u64);
        let drawn = Drawn { drawing, offset: self.fed - unfinished, size: self.size };
        self.drawn = Some((Instant::now(), drawn.clone()));
        drawn
    }

    /// Whether it takes the memory of a model.
    pub(super) fn is_live(&self) -> bool {
        (matches!(self.model, Model::Live(_)) && !self.stays) || self.drawn.is_some()
    }

    /// Keeps of the model only what draws it.
    pub(super) fn park(&mut self) {
        self.drawn = None;
        if let Model::Live(screen) = &self.model
            && !self.stays
        {
            match screen.whole_snapshot() {
                Some(drawing) => {
                    let (drawing, pending) = (drawing.into_boxed_slice().into(), screen.pending().to_vec());
                    self.model = Model::Parked { drawing, pending };
                }
                None => self.stays = true,
            }
        }
    }

    fn screen(&mut self) -> &mut Screen {
        if let Model::Parked { drawing, pending } = &self.model {
            let mut screen = Screen::new(screen_size(self.size));
            screen.feed(drawing);
            screen.feed(pending);
            self.model = Model::Live(Box::new(screen));
        }
        match &mut self.model {
            Model::Live(screen) => screen,
            Model::Parked { .. } => unreachable!("it was just taken up"),
        }
    }
}

/// What draws a screen, in no more memory than it takes.
fn snapshot(screen: &Screen) -> Bytes {
    screen.snapshot().into_boxed_slice().into()
}

fn screen_size(size: Size) -> terminal_screen::Size {
    terminal_screen::Size { cols: size.cols(), rows: size.rows() }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;
    use crate::runtime::{
        pty::{
            Inputs,
            tests::{pending_terminal, terminal},
        },
        ring::RING_BYTES,
        viewer::{Start, View},
    };

    /// Runs what a terminal does by itself while `test` goes on.
    async fn looked_after(terminal: &Arc<Terminal>, test: impl Future<Output = ()>) {
        tokio::select! {
            () = terminal.look_after() => unreachable!("it never ends"),
            () = test => {}
        }
    }

    async fn typed(inputs: &mut Inputs) -> String {
        match timeout(Duration::from_secs(10), inputs.recv()).await {
            Ok(Some(Input::Bytes(bytes))) => String::from_utf8_lossy(&bytes).into_owned(),
            other => panic!("nothing typed but {other:?}"),
        }
    }

    fn drawn_by(bytes: &[u8]) -> Vec<u8> {
        let mut screen = Screen::new(screen_size(Size::DEFAULT));
        screen.feed(bytes);
        screen.snapshot()
    }

    #[tokio::test]
    async fn live_queries_are_answered_once_and_repeated_ones_never() {
        let terminal = terminal();
        let line = terminal.line().unwrap();
        let mut inputs = line.connect().unwrap();
        let test = async {
            line.repeats_until(20);
            line.output(0, Bytes::from_static(b"old\x1b[6n\x1b[c1234567890"));
            line.output(20, Bytes::from_static(b"\x1b[2J\x1b[5;9H\x1b[6nmore\x1b[c"));
            line.output(20, Bytes::from_static(b"\x1b[2J\x1b[5;9H\x1b[6nmore\x1b[c"));
            assert_eq!(typed(&mut inputs).await, "\u{1b}[5;9R", "the cursor as it was at the question");
            assert_eq!(typed(&mut inputs).await, "\u{1b}[?1;2c");
            line.append(Bytes::from_static(b"\x1b[5n"));
            assert_eq!(typed(&mut inputs).await, "\u{1b}[0n");
            assert!(inputs.try_recv().is_err());
        };
        looked_after(&terminal, test).await;
    }

    #[tokio::test]
    async fn the_cursor_is_told_as_it_was_even_where_the_model_is_behind_the_question() {
        let terminal = terminal();
        let line = terminal.line().unwrap();
        let mut inputs = line.connect().unwrap();
        line.append(Bytes::from_static(b"\x1b[5;9H\x1b[6n\x1b[2;3H\x1b[6n\x1b[c and more"));
        terminal.draw();
        let mut budget = Budget { until: Instant::now(), left: 0 };
        terminal.answer(&mut budget);
        for answer in ["\u{1b}[5;9R", "\u{1b}[2;3R", "\u{1b}[?1;2c"] {
            assert_eq!(typed(&mut inputs).await, answer);
        }
    }

    #[tokio::test]
    async fn the_first_words_of_a_new_process_are_answered_however_late_they_come() {
        let terminal = pending_terminal();
        let line = terminal.line().unwrap();
        let mut inputs = line.connect().unwrap();
        let test = async {
            line.repeats_until(4);
            line.output(0, Bytes::from_static(b"\x1b[5n"));
            assert_eq!(typed(&mut inputs).await, "\u{1b}[0n");
            line.repeats_until(8);
            line.output(4, Bytes::from_static(b"\x1b[5n"));
            line.output(8, Bytes::from_static(b"\x1b[c"));
            assert_eq!(typed(&mut inputs).await, "\u{1b}[?1;2c");
        };
        looked_after(&terminal, test).await;
    }

    #[tokio::test]
    async fn a_program_that_asks_without_end_is_not_typed_full() {
        let terminal = terminal();
        let line = terminal.line().unwrap();
        let mut inputs = line.connect().unwrap();
        let mut budget = Budget { until: Instant::now(), left: 0 };
        for _ in 0..100 {
            line.append(Bytes::from(b"\x1b[5n".repeat(1000)));
            terminal.answer(&mut budget);
        }
        let mut answers = 0;
        while inputs.try_recv().is_ok() {
            answers += 1;
        }
        assert!((1..=2 * ANSWERS_PER_SECOND).contains(&answers), "{answers} answers");
    }

    #[tokio::test]
    async fn a_screen_is_drawn_as_if_everything_had_been_fed_at_once() {
        let terminal = terminal();
        let line = terminal.line().unwrap();
        let mut all = Vec::new();
        for round in 0..40 {
            let text = format!("\u{1b}[1;3{}mround {round}\u{1b}[m {}\r\n", round % 8, "x".repeat(round % 60));
            line.append(Bytes::from(text.clone()));
            all.extend_from_slice(text.as_bytes());
            let drawn = terminal.draw();
            let fed = &all[..usize::try_from(drawn.offset).unwrap()];
            assert!(drawn.drawing == drawn_by(fed), "round {round}: {}", String::from_utf8_lossy(&drawn.drawing));
            if round % 7 == 0 {
                terminal.picture().park();
            }
        }
    }

    /// A flood is passed over but for its end, and what was set before it still holds.
    #[tokio::test]
    async fn after_a_flood_the_screen_is_right_in_all_its_modes() {
        let terminal = terminal();
        let line = terminal.line().unwrap();
        line.append(Bytes::from_static(b"\x1b[?1049h\x1b[?2004h\x1b[?25l\x1b[?1002;1006h"));
        for _ in 0..3 * RING_BYTES / 4096 {
            line.append(Bytes::from(b"flooding the screen \x1b[31mred\x1b[m\r\n".repeat(100)));
        }
        line.append(Bytes::from_static(b"\x1b[2J\x1b[HEND"));
        let mut expected = b"\x1b[?1049h\x1b[?2004h\x1b[?25l\x1b[?1002;1006h".to_vec();
        expected.extend_from_slice(&b"flooding the screen \x1b[31mred\x1b[m\r\n".repeat(100));
        expected.extend_from_slice(b"\x1b[2J\x1b[HEND");
        assert_eq!(String::from_utf8_lossy(&terminal.draw().drawing), String::from_utf8_lossy(&drawn_by(&expected)));
    }

    /// What is passed over ends where the program puts the cursor, so that nothing is drawn elsewhere.
    #[tokio::test]
    async fn what_is_drawn_in_one_place_stays_in_it_after_a_flood() {
        let terminal = terminal();
        let line = terminal.line().unwrap();
        line.append(Bytes::from_static(b"\x1b[?1049h\x1b[2J"));
        for number in 0..20_000 {
            line.append(Bytes::from(format!("\u{1b}[5;10H\u{1b}[3{}mcount {number} of a long drawing\u{1b}[m", number % 8)));
        }
        let mut screen = Screen::new(screen_size(Size::DEFAULT));
        screen.feed(&terminal.draw().drawing);
        let lines: Vec<String> = screen.view().lines.into_iter().filter(|line| !line.is_empty()).collect();
        assert_eq!(lines, ["count 19999 of a long drawing"]);
    }

    #[tokio::test]
    async fn a_size_holds_from_where_it_was_changed() {
        let terminal = terminal();
        let line = terminal.line().unwrap();
        line.append(Bytes::from("0123456789".repeat(6)));
        let narrow = Size::new(20, 5).unwrap();
        terminal.resize(narrow).await;
        line.append(Bytes::from_static(b"tail"));
        let mut screen = Screen::new(screen_size(Size::DEFAULT));
        screen.feed("0123456789".repeat(6).as_bytes());
        screen.resize(screen_size(narrow));
        screen.feed(b"tail");
        let drawn = terminal.draw();
        assert_eq!((drawn.size, &drawn.drawing[..]), (narrow, &screen.snapshot()[..]));
    }

    #[tokio::test]
    async fn a_quiet_terminal_is_kept_as_its_drawing_and_goes_on_from_it() {
        let terminal = terminal();
        let line = terminal.line().unwrap();
        line.append(Bytes::from(b"line of text \x1b[32mgreen\x1b[m\r\n".repeat(4000)));
        let before = terminal.draw();
        terminal.park();
        assert!(terminal.picture().is_live(), "it printed just now");
        terminal.lock().output_at = Instant::now().checked_sub(QUIET).unwrap();
        terminal.park();
        let parked = if let Model::Parked { drawing, .. } = &terminal.picture().model { drawing.len() } else { usize::MAX };
        assert!(parked < 100 * 1024, "{parked} bytes");
        let mut viewer = terminal.view(Start::Screen);
        let Some(View::Screen { drawing, offset, .. }) = viewer.next().await else { panic!("no screen") };
        assert!(drawing == before.drawing && offset == before.offset);
    }

    #[tokio::test]
    async fn a_screen_behind_two_mebibytes_is_there_at_once() {
        let terminal = terminal();
        let line = terminal.line().unwrap();
        let test = async {
            for round in 0..64 {
                line.append(Bytes::from(
                    format!("{round} \u{1b}[3{}mcolored text of a usual length\u{1b}[m and more\r\n", round % 8).repeat(600),
                ));
                tokio::task::yield_now().await;
            }
            while terminal.lock().is_behind() {
                sleep(Duration::from_millis(1)).await;
            }
            let began = Instant::now();
            terminal.draw();
            // A tenth of it is the aim; this is built without optimisation, on a machine that has other things to do.
            assert!(began.elapsed() < Duration::from_millis(250), "{:?}", began.elapsed());
        };
        looked_after(&terminal, test).await;
    }

    #[test]
    fn a_parked_screen_goes_on_as_if_it_had_never_been() {
        let printed = "\u{1b}[?1049h\u{1b}[?1000;1006;2004h\u{1b}[2;3Habc\u{1b}[?25l\u{1b}[31m\u{20ac}".as_bytes();
        for cut in 0..=printed.len() {
            let mut pictures = [Picture::new(0, Size::DEFAULT), Picture::new(0, Size::DEFAULT)];
            for (picture, parks) in pictures.iter_mut().zip([false, true]) {
                picture.feed(&printed[..cut]);
                if parks {
                    picture.park();
                    assert!(!picture.is_live());
                }
                picture.feed(&printed[cut..]);
            }
            let [stayed, parked] = pictures.map(|mut picture| picture.draw());
            assert_eq!((parked.drawing, parked.offset), (stayed.drawing, stayed.offset), "cut at {cut}");
        }
    }

    #[test]
    fn a_drawing_is_given_out_again_while_little_was_printed() {
        let mut picture = Picture::new(100, Size::DEFAULT);
        picture.feed(b"x\xe2");
        assert!(picture.drawn(102, Size::DEFAULT, Instant::now()).is_none());
        assert_eq!(picture.draw().offset, 101);
        let at = picture.drawn.as_ref().unwrap().0;
        let later = at + DRAWN_AGAIN_FOR;
        assert_eq!(picture.drawn(101 + DRAWN_AGAIN_WITHIN, Size::DEFAULT, later).unwrap().offset, 101);
        assert!(picture.drawn(102 + DRAWN_AGAIN_WITHIN, Size::DEFAULT, later).is_none());
        assert!(picture.drawn(1 << 30, Size::DEFAULT, at).is_some());
        assert!(picture.drawn(102, Size::new(10, 10).unwrap(), later).is_none());
    }
}
