package spool

import (
	"strings"
	"time"
)

// State says how far a mail has come. The zero value is no state at all.
type State uint8

// The states of a delivery record.
const (
	// StateEntered: a handler was entered and has not ended. After a restart this means that the process died in it.
	StateEntered State = iota + 1
	// StateRefused: the handler returned an error; the mail comes again after NotBefore.
	StateRefused
	// StateCrashed: the handler or the parser panicked; the mail comes again after NotBefore.
	StateCrashed
	// StateDone: finished for ever; on the server only removal is left.
	StateDone
)

var stateWords = [...]string{"none", "entered", "refused", "crashed", "done"}

func (s State) String() string { return wordOf(stateWords[:], uint8(s)) }

// Outcome says how a done mail ended.
type Outcome uint8

// The outcomes of a done mail.
const (
	OutcomeDelivered Outcome = iota + 1 // the handler took it
	OutcomeFailed                       // it lies in the failed directory
	OutcomeLoopback                     // it lies in the loopback directory
)

var outcomeWords = [...]string{"none", "delivered", "failed", "loopback"}

func (o Outcome) String() string { return wordOf(outcomeWords[:], uint8(o)) }

// Disposal says what becomes of the raw file of a done mail. It is recorded together with done, so that an interrupted
// disposal is finished by the next Lock.
type Disposal uint8

// The disposals of a raw file.
const (
	DisposeDelete    Disposal = iota + 1 // removed from incoming
	DisposeProcessed                     // moved to the processed directory
	DisposeFailed                        // moved to the failed directory, with a reason file beside it
	DisposeLoopback                      // moved to the loopback directory
	DisposeKeep                          // left in incoming; from now on it is the host's
)

var disposalWords = [...]string{"none", "delete", "processed", "failed", "loopback", "keep"}

func (d Disposal) String() string { return wordOf(disposalWords[:], uint8(d)) }

// target gives the directory of a disposal that moves the file.
func (d Disposal) target() (Kind, bool) {
	switch d {
	case DisposeProcessed:
		return Processed, true
	case DisposeFailed:
		return Failed, true
	case DisposeLoopback:
		return Loopback, true
	default:
		return 0, false
	}
}

func wordOf(words []string, i uint8) string {
	if int(i) < len(words) {
		return words[i]
	}
	return "unknown"
}

// Record is what is known of one mail of a mailbox. Records are values; changing one changes nothing on disk.
type Record struct {
	// Key is the mailbox's id of the mail (UIDL, UIDVALIDITY.UID, ItemId). From Lookup it is the key asked for; from
	// Records it is the stored form, see StoredKey.
	Key string
	// EventID is the stable id of the event. Empty for a mail that was done before this session.
	EventID string
	State   State
	// Attempts counts how often a handler was entered, or the parser run, without an orderly end: kills and panics. While
	// a handler runs it includes that run. It is kept by Append; the value given to Entered is used only if it is larger.
	Attempts int
	// Errors counts orderly refusals. It is kept by Append like Attempts.
	Errors int
	// NotBefore: a refused or crashed mail is not offered before this time (whole seconds). Zero means at once.
	NotBefore time.Time
	// Raw is the base name of the raw file in incoming, "" if unknown or disposed of.
	Raw string
	// Files are the base names of the ATT and OriginalMessageText files in incoming.
	Files []string
	// Size is the size of the mail in octets as the server stated it; 0 is unknown.
	Size int64
	// HeaderHash is a hexadecimal hash of the header, "" if unknown. Only its first 16 digits are kept, for a done mail
	// of an earlier session only 7; compare with DifferentMail.
	HeaderHash string
	Outcome    Outcome  // of a done mail
	Disposal   Disposal // of a done mail
	// Reason is a short line for people, shortened to 200 bytes.
	Reason string
}

// DifferentMail reports whether a mail of this size and header hash under the same key is certainly another mail: both
// are known on both sides and both differ (a server that uses a UIDL again; see RFC 1939, section 7).
func (r Record) DifferentMail(size int64, headerHash string) bool {
	return r.SizeDiffers(size) && r.HashDiffers(headerHash)
}

// SizeDiffers reports whether both sizes are known and differ.
func (r Record) SizeDiffers(size int64) bool {
	if r.Size <= 0 || size <= 0 {
		return false
	}
	return min(r.Size, maxSize32) != min(size, maxSize32)
}

// HashDiffers reports whether both header hashes are known and differ in the digits that are known of both.
func (r Record) HashDiffers(headerHash string) bool {
	n := min(len(r.HeaderHash), len(headerHash), keptHashDigits)
	if n == 0 {
		return false
	}
	return !strings.EqualFold(r.HeaderHash[:n], headerHash[:n])
}

const (
	keptHashDigits = 16        // of HeaderHash on disk
	maxReason      = 200       // bytes of Reason on disk
	maxSize32      = 1<<32 - 1 // sizes are told apart up to here
)

// Change is one step of a mail's record, made by Entered, Refused, Interrupted, Crashed, Done, DoneRecord or Gone.
type Change struct {
	state     State // 0 is gone
	rec       Record
	withFiles bool // rec is complete: take its names instead of the known ones
	uncounted bool // of refused: neither an error nor an attempt
}

// Entered says that the handler is about to be entered with this mail. The record's files must be durable already.
func Entered(rec Record) Change { return Change{state: StateEntered, rec: rec, withFiles: true} }

// Refused says that the handler returned an error and ended orderly.
func Refused(key string, notBefore time.Time) Change {
	return Change{state: StateRefused, rec: Record{Key: key, NotBefore: notBefore}}
}

// Interrupted says that the session was ended while the handler ran, and that the handler gave the mail back. The mail
// comes again at once and nothing is counted against it.
func Interrupted(key string) Change {
	return Change{state: StateRefused, rec: Record{Key: key}, uncounted: true}
}

// Crashed says that the handler or the parser panicked. For a mail that was not entered it counts as an attempt.
func Crashed(key string, notBefore time.Time) Change {
	return Change{state: StateCrashed, rec: Record{Key: key, NotBefore: notBefore}}
}

// Done says that the mail is finished. The names are those of the Entered record; use DoneRecord for a mail that was
// never entered.
func Done(key string, outcome Outcome, disposal Disposal, reason string) Change {
	return Change{state: StateDone, rec: Record{Key: key, Outcome: outcome, Disposal: disposal, Reason: reason}}
}

// DoneRecord is Done for a mail that was not entered (a parse failure, a diverted loop, an import): the record brings
// its own Raw, Size and HeaderHash, so that an interrupted disposal can be finished. Its Files are the host's; files that the
// record named before and that are not among them are removed at the end of the session.
func DoneRecord(rec Record, outcome Outcome, disposal Disposal, reason string) Change {
	rec.Outcome, rec.Disposal, rec.Reason = outcome, disposal, reason
	return Change{state: StateDone, rec: rec, withFiles: true}
}

// Gone forgets a mail that is no longer on the server and was not done. Its files are removed at the end of the session.
func Gone(key string) Change { return Change{rec: Record{Key: key}} }
