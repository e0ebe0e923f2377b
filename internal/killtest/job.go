package killtest

import (
	"encoding/json"
	"os"
)

// jobEnv has the job of a child.
const jobEnv = "MAILDRIVER_KILLTEST_JOB"

// A Job is what a child has to do.
type Job struct {
	// Server is for the maker of the driver: address, login and so on.
	Server map[string]string
	// Root is the spool, Journal the file of the witness.
	Root, Journal string
	// Batch is the most mails in a session; 0 means the driver's default. The
	// child polls until the mailbox has no more, or for so many Sessions, if
	// that is positive.
	Batch, Sessions int
	// MaxAttempts, if positive, is passed on.
	MaxAttempts int
	// Point and Nth say where to stop: at the nth visit of a point, from 1.
	// Point "" with Nth > 0 counts the visits of all points together, those
	// after an operation left out: they are the moment before the next one.
	Point string
	Nth   int
	// Notices makes the child tell of each hand-over.
	Notices bool
	// Term makes the child wait for SIGTERM at its stop before it goes on.
	Term bool
	// Obey makes the handler wait for the end of its context and return its
	// error.
	Obey bool
	// Send makes the child send a message of so many bytes instead of polling.
	Send int64
}

// IsChild reports whether this process was started by [Start].
func IsChild() bool { return os.Getenv(jobEnv) != "" }

func readJob() (j Job, err error) {
	err = json.Unmarshal([]byte(os.Getenv(jobEnv)), &j)
	return j, err
}
