//! The receiving end of a channel: the decoder. It reads windows of every link, checks what is in them, and hands messages out one by one.
//!
//! A receiver owns it, or the channel's service does. Budget for a message of one frame: one load of its word, one check of its lengths; read in
//! place when the memory is private or the peer trusted, else copied once into a buffer that is used again and again.

use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use smallvec::SmallVec;

use super::view::{MessageView, Received, own};
use crate::slice::Slice;
use crate::tli::{Borrowed, Inlet, LANES, Lane, PeerGone, Reason, RxWindow, Tether, Violation};
use crate::window::{Window, WindowPool};
use crate::wire::{Bad, END, Frames, MessageWord, RawFrame, message_flags};

/// Places in [`LANES`].
const URGENT: usize = 0;
const BULK: usize = 1;
const _: () = assert!(matches!(LANES, [Lane::Urgent, Lane::Bulk]));

/// Bulk messages that may be read between two looks at the urgent lane.
const LOOK_URGENT_EVERY: u32 = 16;
/// Looks that found nothing between two that ask the system whether the peer is there.
const LOOK_ALIVE_EVERY: u32 = 4096;
/// Messages between two reports to the peer of how many were read.
const REPORT_EVERY: u64 = 256;
/// Bytes in front of the payload of a message of one frame.
const RAW_HEAD: usize = crate::wire::MESSAGE_HEADER + crate::wire::FRAME_HEADER;
/// Size of the windows into which owned messages are copied.
const OWNED_WINDOW: usize = 64 << 10;
/// Owned messages from this size on have memory of their own.
const OWNED_ALONE: usize = 16 << 10;

/// What the intake has to say.
pub(super) enum Found {
    /// A message lies ready: take it by [`Intake::with_view`] or [`Intake::take_owned`].
    Message(Place),
    /// The peer of a link is gone and everything that it sent was handed out. Said once.
    Gone(Arc<dyn Tether>, PeerGone),
    /// Nothing now.
    Nothing,
}

/// Where a message lies that was found.
#[derive(Clone, Copy)]
pub(super) struct Place {
    source: usize,
    lane: usize,
    word: MessageWord,
}

/// All links that are received from.
pub(super) struct Intake {
    sources: Vec<Source>,
    /// The source to be looked at first.
    turn: usize,
    scratch: Vec<u8>,
    lent: SmallVec<[Borrowed; 2]>,
    pool: WindowPool,
    owned: Option<Window>,
    empty_looks: u32,
    pub(super) messages: u64,
    pub(super) bytes: u64,
}

/// One link.
pub(super) struct Source {
    inlet: Box<dyn Inlet>,
    pub(super) tether: Arc<dyn Tether>,
    lanes: [ReadLane; 2],
    since_urgent: u32,
}

#[derive(Default)]
struct ReadLane {
    window: Option<RxWindow>,
    read: u64,
    reported: u64,
}

impl Source {
    pub(super) fn new(inlet: Box<dyn Inlet>, tether: Arc<dyn Tether>) -> Self {
        Self { inlet, tether, lanes: Default::default(), since_urgent: LOOK_URGENT_EVERY }
    }

    /// The first word of the next message of a lane, in number as [`LANES`] has them, when its window is open and its header is right; anything else is
    /// for [`Self::look`] to find out.
    #[inline]
    fn peek(&self, lane: usize) -> Option<MessageWord> {
        let window = self.lanes[lane].window.as_ref()?;
        MessageWord::parse_quickly(window.word(), window.room())
    }

    /// The next message of a lane, with windows changed as they end.
    #[cold]
    fn look(&mut self, lane: usize) -> Result<Option<MessageWord>, Box<PeerGone>> {
        loop {
            let Some(window) = &self.lanes[lane].window else {
                match self.inlet.receive(LANES[lane])? {
                    Some(window) => self.lanes[lane].window = Some(window),
                    None => return Ok(None),
                }
                continue;
            };
            match window.word() {
                0 => return Ok(None),
                END => self.next_window(lane),
                word => return MessageWord::parse(word, window.room()).map(Some).map_err(|bad| self.cut(bad).into()),
            }
        }
    }

    /// Gives the lane's window back.
    #[cold]
    fn next_window(&mut self, lane: usize) {
        self.report(lane);
        if let Some(window) = self.lanes[lane].window.take() {
            self.inlet.dispose(LANES[lane], window);
        }
    }

    /// Tells the peer how many messages were read.
    fn report(&mut self, lane: usize) {
        let read = &mut self.lanes[lane];
        if read.reported != read.read {
            read.reported = read.read;
            self.inlet.read(LANES[lane], read.read);
        }
    }

    /// Tells the peer what was read, and rings it if it waits for that.
    fn settle(&mut self) {
        if self.lanes.iter().all(|lane| lane.read == lane.reported) {
            return;
        }
        (0..LANES.len()).for_each(|lane| self.report(lane));
        // Partner of the fence in the peer's `arm`.
        fence(Ordering::SeqCst);
        self.tether.ring();
    }

    /// The peer broke the protocol.
    #[cold]
    fn cut(&mut self, bad: Bad) -> PeerGone {
        let reason = Reason::Violation(Violation::Message(bad));
        self.tether.cut(reason.clone());
        PeerGone { peer: self.tether.peer().name.clone(), reason }
    }

    /// Whether the link still stands, or has windows left to hand out. A window that is open and has no further message is over when the peer is gone.
    fn alive(&mut self) -> Result<(), PeerGone> {
        let Err(gone) = self.tether.look() else { return Ok(()) };
        for (lane, &name) in LANES.iter().enumerate() {
            // The peer is gone, so the word is final; what it published is read first.
            if self.lanes[lane].window.as_ref().is_some_and(|window| window.word() != 0) {
                return Ok(());
            }
            self.next_window(lane);
            if let Ok(Some(window)) = self.inlet.receive(name) {
                self.lanes[lane].window = Some(window);
                return Ok(());
            }
        }
        Err(gone)
    }

    /// The next message that is plain to see: of the bulk lane, while the urgent one need not be looked at.
    #[inline]
    fn next_quickly(&mut self) -> Option<MessageWord> {
        if self.since_urgent >= LOOK_URGENT_EVERY {
            return None;
        }
        let word = self.peek(BULK)?;
        self.since_urgent += 1;
        Some(word)
    }

    /// The next message, the urgent lane first, with its lane.
    fn next(&mut self) -> Result<Option<(usize, MessageWord)>, Box<PeerGone>> {
        self.since_urgent = 0;
        let mut gone = None;
        for lane in [URGENT, BULK] {
            match self.look(lane) {
                Ok(None) => {}
                Ok(Some(word)) => {
                    // After an urgent message comes another look at urgent ones.
                    self.since_urgent = if lane == URGENT { LOOK_URGENT_EVERY } else { 1 };
                    return Ok(Some((lane, word)));
                }
                // The other lane may have messages that were published before.
                Err(error) => gone = Some(error),
            }
        }
        gone.map_or(Ok(None), Err)
    }
}

impl Intake {
    pub(super) fn new() -> Self {
        Self {
            sources: Vec::new(),
            turn: 0,
            scratch: Vec::new(),
            lent: SmallVec::new(),
            pool: WindowPool::new(OWNED_WINDOW, 16),
            owned: None,
            empty_looks: 0,
            messages: 0,
            bytes: 0,
        }
    }

    pub(super) fn add(&mut self, source: Source) {
        self.sources.push(source);
    }

    pub(super) fn tethers(&self) -> impl Iterator<Item = &Arc<dyn Tether>> {
        self.sources.iter().map(|source| &source.tether)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    /// Links that may have something.
    pub(super) fn sources(&self) -> usize {
        self.sources.len()
    }

    /// Whether a message lies ready, or something is wrong that the next look will tell.
    pub(super) fn has_message(&mut self) -> bool {
        self.sources.iter_mut().any(|source| source.peek(BULK).is_some() || !matches!(source.next(), Ok(None)))
    }

    /// Counts looks that found nothing; now and then it is time to see whether the peers are still there.
    #[inline]
    pub(super) fn worth_a_look(&mut self) -> bool {
        self.empty_looks = self.empty_looks.wrapping_add(1);
        self.empty_looks.is_multiple_of(LOOK_ALIVE_EVERY)
    }

    /// The next message of the link whose turn it is, when it is plain to see; otherwise [`Self::next`] finds out.
    #[inline]
    pub(super) fn next_quickly(&mut self) -> Option<Place> {
        let source = self.turn;
        let word = self.sources.get_mut(source)?.next_quickly()?;
        Some(Place { source, lane: BULK, word })
    }

    /// The next message, if one is there. A link is looked at again until it has nothing, then the next.
    pub(super) fn next(&mut self) -> Found {
        for _ in 0..self.sources.len() {
            let source = self.turn;
            match self.sources[source].next() {
                Ok(Some((lane, word))) => return Found::Message(Place { source, lane, word }),
                Ok(None) => {}
                Err(gone) => return self.lose(source, *gone),
            }
            self.turn = (source + 1) % self.sources.len();
        }
        Found::Nothing
    }

    /// As [`Self::next`], and looks whether peers are still there. For when there was nothing for a while.
    pub(super) fn next_or_gone(&mut self) -> Found {
        for source in 0..self.sources.len() {
            if let Err(gone) = self.sources[source].alive() {
                return self.lose(source, gone);
            }
        }
        self.next()
    }

    #[cold]
    fn lose(&mut self, source: usize, gone: PeerGone) -> Found {
        let mut lost = self.sources.remove(source);
        self.turn = 0;
        (0..LANES.len()).for_each(|lane| lost.report(lane));
        Found::Gone(lost.tether, gone)
    }

    /// Lends the message to `use_it` and goes past it.
    ///
    /// # Errors
    /// When what the message holds is not what its header says: the peer is cut off.
    #[inline]
    pub(super) fn with_view<R>(&mut self, place: Place, use_it: impl FnOnce(MessageView<'_>) -> R) -> Result<R, Found> {
        let Place { source, lane, word } = place;
        let from = &mut self.sources[source];
        let window = from.lanes[lane].window.as_mut().expect("a message was found in it");
        let length = word.length as usize;
        let body = if window.in_place() {
            window.body(length)
        } else {
            window.copy_body(length, &mut self.scratch);
            &self.scratch
        };
        let first = match word.sole_frame(body) {
            Some(first) => first,
            None => match check(word, body, from.inlet.as_mut(), &mut self.lent) {
                Ok(first) => first,
                Err(bad) => {
                    self.lent.clear();
                    let gone = from.cut(bad);
                    return Err(self.lose(source, gone));
                }
            },
        };
        let result = use_it(MessageView::new(word, body, first, &self.lent));
        window.advance(length);
        if !self.lent.is_empty() {
            self.lent.clear();
        }
        self.passed(place);
        Ok(result)
    }

    /// Takes the message as one's own: its body is copied once.
    ///
    /// # Errors
    /// As [`Self::with_view`].
    pub(super) fn take_owned(&mut self, place: Place) -> Result<Received, Found> {
        let Place { source, lane, word } = place;
        let length = word.length as usize;
        let slice = self.copy_owned(source, lane, length);
        let from = &mut self.sources[source];
        if let Err(bad) = check(word, &slice, from.inlet.as_mut(), &mut self.lent) {
            self.lent.clear();
            let gone = from.cut(bad);
            return Err(self.lose(source, gone));
        }
        let received = own(word, &slice, &mut self.lent);
        self.lent.clear();
        from.lanes[lane].window.as_mut().expect("a message was found in it").advance(length);
        self.passed(place);
        Ok(received)
    }

    /// Payload of a raw window: of a message of one copied frame, and 0 of any other.
    pub(super) fn raw_len(&self, place: Place) -> usize {
        let window = self.raw_window(place);
        let mut head = [0u8; 8];
        if (place.word.length as usize) < RAW_HEAD || place.word.frames != 1 {
            return 0;
        }
        window.memory().copy_out(window.position() + RAW_HEAD - 8, &mut head);
        (u64::from_le_bytes(head) as u32 as usize).min(place.word.length as usize - RAW_HEAD)
    }

    /// The payload where it lies.
    pub(super) fn raw_bytes(&self, place: Place) -> Option<&[u8]> {
        let window = self.raw_window(place);
        let len = self.raw_len(place);
        window
            .in_place()
            .then(|| window.body(place.word.length as usize).get(RAW_HEAD - 8..RAW_HEAD - 8 + len).unwrap_or(&[]))
    }

    /// The payload, copied.
    pub(super) fn raw_copy(&self, place: Place) -> Vec<u8> {
        let window = self.raw_window(place);
        let mut bytes = vec![0; self.raw_len(place)];
        if !bytes.is_empty() {
            window.memory().copy_out(window.position() + RAW_HEAD, &mut bytes);
        }
        bytes
    }

    fn raw_window(&self, place: Place) -> &RxWindow {
        self.sources[place.source].lanes[place.lane].window.as_ref().expect("a message was found in it")
    }

    /// The message at `place` was read; a window that holds nothing more goes back.
    pub(super) fn pass(&mut self, place: Place) {
        let source = &mut self.sources[place.source];
        if let Some(window) = source.lanes[place.lane].window.as_mut() {
            window.advance(place.word.length as usize);
            self.passed(place);
        }
    }

    /// A counted copy of a message's body.
    fn copy_owned(&mut self, source: usize, lane: usize, length: usize) -> Slice {
        let window = self.sources[source].lanes[lane].window.as_ref().expect("a message was found in it");
        let len = length - 8;
        if len >= OWNED_ALONE {
            let mut body = Vec::new();
            window.copy_body(length, &mut body);
            return Slice::from_vec(body);
        }
        let owned = match &mut self.owned {
            Some(owned) if owned.room() >= len => owned,
            owned => owned.insert(self.pool.take()),
        };
        window.copy_body_to(length, &mut owned.spare()[..len]);
        owned.fill(len)
    }

    /// Counts a message that was read.
    #[inline]
    fn passed(&mut self, place: Place) {
        let Place { source, lane, word } = place;
        self.messages += 1;
        self.bytes += u64::from(word.length);
        if word.flags & message_flags::ERASE != 0 {
            self.scratch.fill(0);
        }
        let source = &mut self.sources[source];
        source.lanes[lane].read += 1;
        match source.lanes[lane].window.as_ref().map_or(0, RxWindow::word) {
            // The last for now: the receiver may not come back for long, so who waits for this to be read is told.
            0 => source.settle(),
            // The last of its window, perhaps of all.
            END => {
                source.settle();
                source.next_window(lane);
            }
            _ if source.lanes[lane].read - source.lanes[lane].reported >= REPORT_EVERY => source.report(lane),
            _ => {}
        }
    }

    /// Tells peers what was read and rings those that wait for it: before waiting.
    #[inline]
    pub(super) fn settle(&mut self) {
        self.sources.iter_mut().for_each(Source::settle);
    }
}

/// Checks every frame, finds what lent ones name, and says what the first frame is if its bytes lie in the message.
fn check<'a>(
    word: MessageWord,
    body: &'a [u8],
    inlet: &mut dyn Inlet,
    lent: &mut SmallVec<[Borrowed; 2]>,
) -> Result<&'a [u8], Bad> {
    let mut frames = Frames::new(word, body);
    let mut first = None;
    while let Some(frame) = frames.advance()? {
        match frame {
            RawFrame::Bytes { bytes, .. } => {
                first.get_or_insert(bytes);
            }
            RawFrame::Lent { descriptor, .. } => {
                first.get_or_insert(&[]);
                lent.push(inlet.borrow(descriptor).map_err(|_| Bad::Descriptor(descriptor))?);
            }
        }
    }
    Ok(first.unwrap_or(&[]))
}
