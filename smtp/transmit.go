package smtp

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/maildriver/maildriver/driver"
)

const (
	// chunkBytes is the size of a BDAT chunk. A server learns early of a
	// message that it does not want: its refusal is seen between two chunks.
	chunkBytes = 1 << 20
	// firstChunk is how much content goes with the envelope, unseen whether
	// that is accepted.
	firstChunk = 64 << 10
	// lastChunk is how much is held back until the content is known to be
	// complete: it goes with BDAT LAST.
	lastChunk = 32 << 10
	// chunkWindow is how many chunks may wait for their replies.
	chunkWindow = 8
)

// data sends the content with DATA, and its final dot. Up to there the server
// must throw away what it got (RFC 5321 section 4.1.1.4), so that the message
// is deferred if that fails; from there on nobody knows.
func (t *transaction) data(ctx context.Context, p *pool) (*waiter, error) {
	err := t.content.emit(ctx, &stuffer{w: t.s.c})
	if err == nil {
		err = t.s.inTurn()
	}
	if err != nil {
		return nil, t.drop(err)
	}
	next, flight := p.claim(t.s)
	return next, t.end([]byte(".\r\n"), nil, flight)
}

// drop ends the connection without the end of the content: the message must
// not look complete.
func (t *transaction) drop(err error) error {
	f := sourceFailure(StageDATA, err)
	_ = t.s.c.Fail("write", f.kind, f.err)
	return f
}

// end sends what ends the content, with the flight of the next message behind
// it, notes whether any of the end went out, and waits for the verdict.
func (t *transaction) end(end, tail, flight []byte) error {
	at := t.s.c.Queued()
	var err error
	for _, part := range []struct {
		bytes []byte
		put   func([]byte) (int, error)
	}{{end, t.s.c.Command}, {tail, t.s.c.Write}, {flight, t.s.c.Command}} {
		if err == nil && len(part.bytes) > 0 {
			_, err = part.put(part.bytes)
		}
	}
	if err == nil {
		err = t.s.c.Flush()
	}
	t.endSent = t.s.c.Taken() > at
	switch {
	case err == nil:
		return t.verdict()
	case t.endSent:
		return t.unknown(err)
	}
	return failed(StageDATA, err)
}

// chunks sends the content with BDAT (RFC 3030). The first chunk rides behind
// the commands of the envelope, if these are given, and is never the last: the
// message ends only once the server has said whom it accepts, and that it took
// every chunk before.
func (t *transaction) chunks(ctx context.Context, cmds []command, p *pool) (*waiter, error) {
	c := &chunker{t: t}
	last := min(t.content.size, lastChunk)
	if cmds != nil {
		rest, err := t.flights(cmds, false)
		if err != nil {
			return nil, err
		}
		if t.mailReplied && !t.mailOK {
			return nil, t.proceed()
		}
		c.envelope = rest
		c.first = firstChunk
		if t.content.size <= lastChunk {
			last = min(t.content.size, 2)
		}
	}
	c.todo = t.content.size - last
	c.tail = make([]byte, 0, last)
	err := t.content.emit(ctx, c)
	if err == nil {
		err = c.settle()
	}
	switch {
	case errors.Is(err, errNobody):
		return nil, nil
	case err != nil && c.left > 0:
		return nil, t.drop(err)
	case err != nil:
		t.s.last = t.s.last || c.waiting > 0 // replies are still to come
		return nil, sourceFailure(StageDATA, err)
	}
	if err := t.s.inTurn(); err != nil {
		return nil, failed(StageDATA, err)
	}
	next, flight := p.claim(t.s)
	return next, t.end([]byte("BDAT "+strconv.Itoa(len(c.tail))+" LAST\r\n"), c.tail, flight)
}

var errNobody = errors.New("no recipient was accepted")

// A chunker writes content as the chunks before the last, which it keeps.
type chunker struct {
	t        *transaction
	envelope []command // sent, with replies to come before those to chunks
	first    int64     // size of the first chunk, 0: as the others
	left     int64     // octets of the open chunk that are to come
	todo     int64     // octets of later chunks, without the last
	waiting  int       // chunks whose replies are to come
	tail     []byte    // the last chunk
}

func (c *chunker) Write(p []byte) (int, error) {
	total := len(p)
	for len(p) > 0 {
		if c.left == 0 {
			if c.todo == 0 {
				if len(c.tail)+len(p) > cap(c.tail) {
					return 0, &localError{errChanged}
				}
				c.tail = append(c.tail, p...)
				return total, nil
			}
			if err := c.open(); err != nil {
				return 0, err
			}
		}
		n, err := c.t.s.c.Write(p[:min(int64(len(p)), c.left)])
		if err != nil {
			return 0, err
		}
		c.left -= int64(n)
		p = p[n:]
	}
	return total, nil
}

// open begins a chunk, once the server has kept up with those before.
func (c *chunker) open() error {
	window := 1
	if c.t.s.pipelining() {
		window = chunkWindow
	}
	if c.waiting > 0 && (c.envelope != nil || c.waiting >= window) {
		if err := c.answers(c.waiting - window + 1); err != nil {
			return err
		}
	}
	size := min(c.todo, chunkBytes)
	if c.first > 0 {
		size, c.first = min(size, c.first), 0
	}
	if err := c.t.s.queue("BDAT " + strconv.FormatInt(size, 10)); err != nil {
		return err
	}
	c.left, c.todo = size, c.todo-size
	c.waiting++
	return nil
}

// settle makes sure that the content is complete and that the server took all
// that it was sent.
func (c *chunker) settle() error {
	if c.left > 0 || c.todo > 0 || len(c.tail) < cap(c.tail) {
		return &localError{errChanged}
	}
	return c.answers(c.waiting)
}

// answers reads the replies to the envelope, if they are to come, and to n
// chunks, at least one if the envelope was waited for.
func (c *chunker) answers(n int) error {
	if c.waiting == 0 && c.envelope == nil {
		return nil
	}
	if err := c.t.s.c.Flush(); err != nil {
		return err
	}
	riding := c.envelope != nil
	if riding {
		if err := c.t.replies(c.envelope); err != nil {
			return err
		}
		c.envelope, n = nil, max(n, min(c.waiting, 1))
	}
	var refused error
	for ; n > 0 && refused == nil; n-- {
		refused = c.answer()
	}
	if riding {
		if err := c.t.proceed(); err != nil {
			return err
		}
		if len(c.t.accepted) == 0 {
			return errNobody
		}
	}
	return refused
}

func (c *chunker) answer() error {
	c.waiting--
	r, err := c.t.s.receive(time.Now().Add(min(c.t.s.commandTimeout(), DefaultBlockTimeout)))
	switch {
	case err != nil:
		return failed(StageDATA, err)
	case r.ok():
		return nil
	}
	reply := r.error(StageDATA, c.t.s.c.Addr())
	if r.code/100 == 3 {
		return failed(StageDATA, c.t.s.c.Fail("read", driver.KindProtocol, reply))
	}
	c.t.s.last = c.t.s.last || r.code == 421
	return failed(StageDATA, reply)
}
