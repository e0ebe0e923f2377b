package pop3

import (
	"context"
	"io"
	"slices"
	"strconv"

	"github.com/maildriver/maildriver/driver"
)

// aheadBytes is the largest mail that is asked for before anybody wants it: it
// must be read even if nobody does.
const aheadBytes = 64 << 10

// Announce implements [driver.Announcer].
func (m *mailbox) Announce(ids []driver.ID) { m.plan = ids }

// Fetch implements [driver.Mailbox] with RETR, several of them in flight where
// the server permits it, those of the mails that will be wanted next among
// them. They cost no memory: what the server sends ahead waits in the
// connection.
func (m *mailbox) Fetch(ctx context.Context, ids []driver.ID, put func(driver.ID, io.Reader) error) error {
	defer m.s.watch(ctx)()
	todo := m.retrievals(ids)
	want := make(map[int]bool, len(todo))
	for _, r := range todo {
		want[r.number] = true
	}
	window := m.s.pipelined()
	queue := slices.Concat(todo, m.retrievals(m.next(ids, window)))
	queue = slices.DeleteFunc(queue, func(r retrieval) bool { return slices.Contains(m.ahead, r) })
	for len(want) > 0 {
		for len(queue) > 0 && len(m.ahead) < window && (want[queue[0].number] || !m.large[queue[0].number]) {
			if err := m.s.send("RETR", strconv.Itoa(queue[0].number)); err != nil {
				return err
			}
			m.ahead, queue = append(m.ahead, queue[0]), queue[1:]
		}
		r, b, err := m.reply()
		if err != nil {
			return err
		}
		wanted := want[r.number]
		delete(want, r.number)
		if b == nil {
			continue // the server has it no more
		}
		if wanted {
			// That it is too big is the mail's fault, not the server's.
			b.max, b.kind = m.maxMail, driver.KindPermanent
			if err := put(r.id, b); err != nil {
				_ = m.s.fail(err)
				return err
			}
		}
		if err := b.drain(); err != nil {
			return err
		}
	}
	return nil
}

// reply reads the reply to the oldest RETR; the body is nil if that was
// refused.
func (m *mailbox) reply() (retrieval, *body, error) {
	r := m.ahead[0]
	m.ahead = m.ahead[1:]
	_, err := m.s.status("RETR " + strconv.Itoa(r.number))
	if re, refused := isRefusal(err); refused && !re.system() {
		return r, nil, nil
	} else if refused {
		return r, nil, m.s.fail(err)
	}
	if err != nil {
		return r, nil, err
	}
	return r, m.s.newBody("retr", -1), nil
}

// retrievals gives the mails that the server still has.
func (m *mailbox) retrievals(ids []driver.ID) []retrieval {
	list := make([]retrieval, 0, len(ids))
	for _, id := range ids {
		if n, ok := m.numbers[id]; ok && !m.deleted[n] {
			list = append(list, retrieval{id, n})
		}
	}
	return list
}

// next gives the mails that will be wanted after ids, at most n.
func (m *mailbox) next(ids []driver.ID, n int) []driver.ID {
	if len(ids) == 0 {
		return nil
	}
	if i := slices.Index(m.plan, ids[len(ids)-1]); i >= 0 {
		m.plan = m.plan[i+1:]
		return m.plan[:min(n, len(m.plan))]
	}
	return nil
}

// settle reads and drops what was asked for ahead and is not wanted now, so
// that another command can be sent.
func (m *mailbox) settle() error {
	for len(m.ahead) > 0 {
		_, b, err := m.reply()
		if err == nil && b != nil {
			err = b.drain()
		}
		if err != nil {
			return err
		}
	}
	return nil
}
