package killtest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// A Child is a process that polls. One goroutine uses it.
type Child struct {
	t      testing.TB
	cmd    *exec.Cmd
	cancel context.CancelFunc
	in     io.WriteCloser
	out    *bufio.Scanner
	stderr bytes.Buffer
	ended  bool

	// RSS is the peak of its resident memory in KiB, once Done returned.
	RSS int64
}

// Start runs this test binary again as a child. The child is killed when the
// test ends, or hangs.
func Start(t testing.TB, j Job) *Child {
	t.Helper()
	text, err := json.Marshal(j)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), childLimit)
	c := &Child{t: t, cancel: cancel, cmd: exec.CommandContext(ctx, os.Args[0])} //nolint:gosec // ourselves
	// With the race detector a process would wait a second before it exits.
	c.cmd.Env = append(os.Environ(), jobEnv+"="+string(text), "GORACE="+os.Getenv("GORACE")+" atexit_sleep_ms=0")
	c.cmd.Stderr = &c.stderr
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.out = bufio.NewScanner(out)
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Kill)
	return c
}

// PID is the child's process id.
func (c *Child) PID() int { return c.cmd.Process.Pid }

// Signal sends the child a signal.
func (c *Child) Signal(s os.Signal) {
	c.t.Helper()
	if err := c.cmd.Process.Signal(s); err != nil {
		c.t.Fatal(err)
	}
}

// Kill ends the child with SIGKILL and waits until it is gone. It may be
// called twice.
func (c *Child) Kill() {
	if c.ended {
		return
	}
	c.ended = true
	_ = c.cmd.Process.Kill()
	_ = c.in.Close()
	_ = c.cmd.Wait()
	c.cancel()
}

// Go lets a child go on that has stopped at its point.
func (c *Child) Go() {
	c.t.Helper()
	if _, err := io.WriteString(c.in, "\n"); err != nil {
		c.t.Fatal(err)
	}
}

// next reads what the child says next; ok is false once it says no more.
func (c *Child) next() (word, rest string, ok bool) {
	if !c.out.Scan() {
		return "", "", false
	}
	word, rest, _ = strings.Cut(c.out.Text(), " ")
	return word, rest, true
}

// Stopped waits until the child has stopped at its point and gives its name;
// "" if it came to its end without.
func (c *Child) Stopped() string {
	c.t.Helper()
	for {
		switch word, rest, ok := c.next(); {
		case !ok || word == "failed":
			c.Kill()
			c.t.Fatalf("the child failed: %s %s %s", word, rest, c.stderr.String())
		case word == "at":
			return rest
		case word == "done":
			c.end()
			return ""
		}
	}
}

// Handed waits for n hand-overs; it returns false if the child came to its end
// before. The job must ask for Notices.
func (c *Child) Handed(n int) bool {
	c.t.Helper()
	for n > 0 {
		switch word, rest, ok := c.next(); {
		case !ok || word == "failed":
			c.Kill()
			c.t.Fatalf("the child failed: %s %s %s", word, rest, c.stderr.String())
		case word == "handed":
			n--
		case word == "done":
			c.end()
			return false
		}
	}
	return true
}

// Done waits for the child's orderly end.
func (c *Child) Done() {
	c.t.Helper()
	for {
		word, rest, ok := c.next()
		if word == "rss" {
			if _, err := fmt.Sscanf(rest, "%d", &c.RSS); err != nil {
				c.t.Fatal(err)
			}
		}
		if !ok || word == "failed" || word == "at" {
			c.Kill()
			c.t.Fatalf("the child did not come to its end: %s %s %s", word, rest, c.stderr.String())
		}
		if word == "done" {
			c.end()
			return
		}
	}
}

// Failed waits for a child that cannot do its job and gives its error.
func (c *Child) Failed() string {
	c.t.Helper()
	for {
		switch word, rest, ok := c.next(); {
		case !ok || word == "done" || word == "at":
			c.Kill()
			c.t.Fatalf("the child did not fail: %s %s %s", word, rest, c.stderr.String())
		case word == "failed":
			c.Kill()
			return rest
		}
	}
}

func (c *Child) end() {
	c.t.Helper()
	c.ended = true
	_ = c.in.Close()
	err := c.cmd.Wait()
	c.cancel()
	if err != nil {
		c.t.Fatalf("the child: %v %s", err, c.stderr.String())
	}
}
