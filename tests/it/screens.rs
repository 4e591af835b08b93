//! What a terminal shows to who comes late, and what it answers, with the real runtime and real programs.

use serde_json::json;
use sqlx::PgPool;
use terminal_screen::{Screen, Size};

use crate::support::{World, terminal::Socket};

/// The screen of a viewer that was shown `text`.
fn screen_of(text: &str) -> Screen {
    let mut screen = Screen::new(Size { cols: 80, rows: 24 });
    screen.feed(text.as_bytes());
    screen
}

/// What a full-screen program set long ago, a late viewer has: §5.7.
#[sqlx::test]
async fn a_late_viewer_sees_the_alternate_screen_with_its_modes(pool: PgPool) {
    let world = World::with_runtime(pool).await;
    let owner = world.owner().await;
    let (id, mut early) = owner.attached_shell().await;
    let draw = r"printf '\033[?1049h\033[2J\033[?2004h\033[?1000;1006h\033[?25l'; i=0; while [ $i -lt 9000 ]; do i=$((i+1)); ".to_owned()
        + r"printf '\033[5;10H\033[3%dmcount %d of a long drawing that fills the ring\033[m' $((i%8)) $i; done; ";
    early.emit("input", json!(format!("stty -echo; {draw} printf 'dr''awn'; read line\n"))).await;
    early.until_shows("drawn").await;

    let mut late = Socket::connect(&world.base, "/terminal", &owner.cookie()).await;
    late.attach(&id).await;
    late.until_shows("drawn").await;

    let screen = screen_of(&late.screen);
    assert_eq!([1049, 2004, 1000, 1006, 25].map(|mode| screen.modes().is_set(mode)), [true, true, true, true, false].map(Some));
    assert!(screen.view().lines.iter().any(|line| line.starts_with("count 9000 of a long drawing")), "{:?}", screen.view().lines);
    assert_eq!(screen.view().lines[0], "", "nothing of the shell is on this screen");
    world.end().await;
}

/// However many watch; the one who asked long ago is not answered again by who comes late.
#[sqlx::test]
async fn a_question_to_the_terminal_is_answered_once(pool: PgPool) {
    let world = World::with_runtime(pool).await;
    let owner = world.owner().await;
    let (id, mut first) = owner.attached_shell().await;
    let mut second = Socket::connect(&world.base, "/terminal", &owner.cookie()).await;
    second.attach(&id).await;

    // Everything that is typed within three seconds after the question, in octal digits.
    let ask = r"stty raw -echo min 0 time 30; printf '\033[2J\033[7;3H\033[6n'; dd bs=64 count=9 2>/dev/null | od -An -to1; stty sane; echo as''ked";
    first.emit("input", json!(format!("{ask}\n"))).await;
    for viewer in [&mut first, &mut second] {
        viewer.until_shows("asked").await;
        let lines = screen_of(&viewer.screen).view().lines;
        assert!(lines.iter().any(|line| line.ends_with("033 133 067 073 063 122")), "{lines:?}");
        assert!(!viewer.screen.contains("\u{1b}[6n"));
    }
    world.end().await;
}

/// Nothing of it reaches who watches: neither a question nor the clipboard nor a link out of the web.
#[sqlx::test]
async fn output_cannot_reach_past_the_terminal(pool: PgPool) {
    let world = World::with_runtime(pool).await;
    let owner = world.owner().await;
    let (_, mut terminal) = owner.attached_shell().await;
    let print = r"stty -echo; printf 'a\033]52;c;aGk=\007b\033]8;;javascript:alert(1)\033\\c\033]8;;https://example.com\007d\033[cen''d'";
    terminal.emit("input", json!(format!("{print}\n"))).await;
    terminal.until_shows("end").await;
    let printed = terminal.screen.rsplit_once("a\u{1b}]52").map(|(_, rest)| rest.to_owned()).unwrap();
    assert_eq!(
        printed.split_once("end").unwrap().0,
        ";c;aGk=\u{18}b\u{1b}]8;;javascript:alert(1)\u{18}\0c\u{1b}]8;;https://example.com\u{7}d\u{1b}[\u{18}"
    );
    world.end().await;
}
