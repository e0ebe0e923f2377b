package pop3

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/pop3/pop3test"
)

// filled opens a mailbox of n mails and lists it.
func filled(t *testing.T, n int, opts ...pop3test.Option) (*pop3test.Server, *mailbox, []driver.ID) {
	srv := newServer(t, opts...)
	for i := range n {
		srv.AddText(fmt.Sprintf("Subject: %d\n\nx\n", i))
	}
	mb := openBox(t, srv.Addr)
	return srv, mb, mustList(t, mb)
}

func TestRemoveTakesEffectAtCommit(t *testing.T) {
	withAndWithout(t, func(t *testing.T, opts ...pop3test.Option) {
		srv, mb, ids := filled(t, 100, opts...)
		require.NoError(t, mb.Remove(t.Context(), append(ids[:50:50], ids[:10]...)))
		require.NoError(t, mb.Remove(t.Context(), ids[:20]), "again")
		assert.Len(t, srv.Messages(), 100)
		got, err := fetchAll(t.Context(), mb, ids[:5])
		require.NoError(t, err)
		assert.Empty(t, got, "removed mails are gone for this session")
		require.NoError(t, mb.Commit(t.Context()))
		assert.Len(t, srv.Messages(), 50)
		for i, r := range srv.Ledger() {
			assert.Equal(t, i < 50, r.Removed)
			assert.LessOrEqual(t, r.Marked, 1, "one DELE a mail")
		}
		require.Error(t, mb.Commit(t.Context()), "a session ends once")
		require.NoError(t, mb.Close())
		assert.Empty(t, srv.Violations())
	})
}

func TestCloseWithoutCommitRemovesNothing(t *testing.T) {
	srv, mb, ids := filled(t, 3)
	require.NoError(t, mb.Remove(t.Context(), ids))
	require.NoError(t, mb.Close())
	require.NoError(t, mb.Close())
	err := mb.Commit(t.Context())
	require.Error(t, err)
	assert.Equal(t, driver.KindClosed, driver.KindOf(err))
	srv.Close() // waits until the server has done with the session
	assert.Len(t, srv.Messages(), 3)
	assert.NotContains(t, string(srv.Transcripts()[0].Client), "QUIT")
}

func TestF07LostBeforeQuit(t *testing.T) {
	srv, mb, ids := filled(t, 3)
	srv.Script(pop3test.Rule{At: pop3test.StepQuit, Do: pop3test.Drop()})
	require.NoError(t, mb.Remove(t.Context(), ids))
	err := mb.Commit(t.Context())
	require.Error(t, err)
	assert.Equal(t, driver.KindTemporary, driver.KindOf(err))
	assert.Equal(t, "quit", err.(*driver.Error).Op)
	assert.Len(t, srv.Messages(), 3)
}

func TestF08ReplyToQuitLost(t *testing.T) {
	for name, do := range map[string]pop3test.Action{"no reply": pop3test.DropReply(), "half a reply": pop3test.Cut(2), "reset": pop3test.Reset()} {
		t.Run(name, func(t *testing.T) {
			srv, mb, ids := filled(t, 3)
			srv.Script(pop3test.Rule{At: pop3test.StepQuit, Do: do})
			require.NoError(t, mb.Remove(t.Context(), ids))
			err := mb.Commit(t.Context())
			require.Error(t, err, "nobody knows whether the mails are gone")
			assert.Equal(t, driver.KindTemporary, driver.KindOf(err))
			if name == "no reply" {
				assert.Empty(t, srv.Messages(), "here they are")
			}
		})
	}
}

func TestF09QuitRefused(t *testing.T) {
	srv, mb, ids := filled(t, 3)
	srv.Script(pop3test.Rule{At: pop3test.StepQuit, Do: pop3test.KeepOnQuit(string(ids[1]))})
	require.NoError(t, mb.Remove(t.Context(), ids))
	err := mb.Commit(t.Context())
	re, ok := errors.AsType[*ReplyError](err)
	require.True(t, ok, "%v", err)
	assert.Equal(t, "QUIT", re.Command)
	assert.Equal(t, driver.KindTemporary, driver.KindOf(err))
	left := srv.Messages()
	require.Len(t, left, 1)
	assert.Equal(t, string(ids[1]), left[0].UIDL)
}

// TestF19StrayReply: a reply too many must not be taken for the one to QUIT.
func TestF19StrayReply(t *testing.T) {
	for name, c := range map[string]struct {
		at   pop3test.Step
		text string
	}{
		"before QUIT": {pop3test.StepNoop, "+OK\r\n+OK stray\r\n"},
		"with it":     {pop3test.StepQuit, "+OK stray\r\n-ERR some deleted messages not removed\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			srv, mb, ids := filled(t, 2)
			srv.Script(pop3test.Rule{At: c.at, Do: pop3test.Reply(c.text)}, pop3test.Rule{At: pop3test.StepQuit, Do: pop3test.KeepOnQuit()})
			require.NoError(t, mb.Remove(t.Context(), ids))
			require.NoError(t, mb.KeepAlive(t.Context()))
			err := mb.Commit(t.Context())
			require.Error(t, err)
			assert.Equal(t, driver.KindProtocol, driver.KindOf(err))
		})
	}
}

func TestDeleteRefused(t *testing.T) {
	withAndWithout(t, func(t *testing.T, opts ...pop3test.Option) {
		srv, mb, ids := filled(t, 4, opts...)
		srv.Script(pop3test.Rule{At: pop3test.StepDele, Message: 2, Do: pop3test.Reply("-ERR [SYS/PERM] read-only")})
		srv.Vanish(string(ids[2])) // its DELE is refused too, rightly
		err := mb.Remove(t.Context(), ids)
		re, ok := errors.AsType[*ReplyError](err)
		require.True(t, ok, "a mail that stays must not be taken for removed: %v", err)
		assert.Equal(t, "DELE 2", re.Command)
		assert.NotContains(t, err.Error(), "DELE 3")
		require.NoError(t, mb.Commit(t.Context()), "the other ones can go")
		left := srv.Messages()
		require.Len(t, left, 1)
		assert.Equal(t, string(ids[1]), left[0].UIDL)
	})
}

func TestKeepAlive(t *testing.T) {
	srv, mb, _ := filled(t, 1)
	require.NoError(t, mb.KeepAlive(t.Context()))
	assert.Contains(t, string(srv.Transcripts()[0].Client), "NOOP\r\n")
	srv.Script(pop3test.Rule{At: pop3test.StepNoop, Times: 1, Do: pop3test.Reply("-ERR not here")})
	require.NoError(t, mb.KeepAlive(t.Context()), "an answer is an answer")
	srv.ClearScript()
	srv.Script(pop3test.Rule{At: pop3test.StepNoop, Do: pop3test.Drop()})
	require.Error(t, mb.KeepAlive(t.Context()))
}

// TestF03DropAtEachStep: every step names itself, nothing is removed, and the
// next session does it all.
func TestF03DropAtEachStep(t *testing.T) {
	tls := map[pop3test.Step]bool{pop3test.StepSTLS: true}
	for _, step := range []pop3test.Step{
		pop3test.StepGreeting, pop3test.StepCapa, pop3test.StepSTLS, pop3test.StepUser, pop3test.StepPass, pop3test.StepAPOP, pop3test.StepAuth,
		pop3test.StepStat, pop3test.StepList, pop3test.StepUIDL, pop3test.StepRetr, pop3test.StepDele, pop3test.StepQuit,
	} {
		for name, do := range map[string]pop3test.Action{
			"before": pop3test.Drop(), "reset": pop3test.Reset(), "in the reply": pop3test.Cut(3), "half a line": pop3test.ReplyThenDrop("+O"),
		} {
			t.Run(string(step)+" "+name, func(t *testing.T) {
				withAndWithout(t, func(t *testing.T, opts ...pop3test.Option) {
					opts = append(opts, pop3test.WithSTLS())
					client := []driver.Option{driver.WithMechanisms("USER")}
					switch step {
					case pop3test.StepAPOP:
						opts, client = append(opts, pop3test.WithAPOP()), []driver.Option{driver.WithMechanisms("APOP")}
					case pop3test.StepAuth:
						opts, client = append(opts, pop3test.WithAuth("PLAIN")), []driver.Option{driver.WithMechanisms("PLAIN")}
					}
					srv := newServer(t, opts...)
					for range 3 {
						srv.AddText("Subject: x\n\ny\n")
					}
					srv.Script(pop3test.Rule{At: step, Do: do})
					if tls[step] {
						client = append(client, driver.WithSecurity(driver.SecurityExplicit), driver.WithRootCAs(srv.RootCAs()))
					}
					d := newDriver(t, srv.Addr, client...)
					err := wholeSession(t.Context(), d)
					require.Error(t, err)
					assert.Equal(t, driver.KindTemporary, driver.KindOf(err), "F03: %v", err)
					de, ok := errors.AsType[*driver.Error](err)
					require.True(t, ok)
					if !(step == pop3test.StepGreeting && name == "reset") { // the dial itself may see that one
						assert.Equal(t, opOf(string(step)), de.Op)
					}
					assert.Equal(t, srv.Addr, de.Addr)
					if !(step == pop3test.StepQuit && name == "in the reply") {
						assert.Len(t, srv.Messages(), 3)
					}
					srv.ClearScript()
					require.NoError(t, wholeSession(t.Context(), d))
					assert.Empty(t, srv.Messages())
				})
			})
		}
	}
}

// TestF04CutAtEachByte cuts one whole conversation after every byte that the
// server sends. No mail that was cut may look complete, and no listing; only
// the last byte makes the removal sure.
func TestF04CutAtEachByte(t *testing.T) {
	withAndWithout(t, func(t *testing.T, opts ...pop3test.Option) {
		mails := []string{"Subject: one\r\n\r\n..\r\nbody\r\n", "Subject: two\r\n\r\n.\r\n"}
		fill := func() *pop3test.Server {
			srv := newServer(t, opts...)
			for _, m := range mails {
				srv.Add([]byte(m))
			}
			return srv
		}
		srv := fill()
		d := newDriver(t, srv.Addr)
		require.NoError(t, wholeSession(t.Context(), d))
		total := len(srv.Transcripts()[0].Server)
		require.Greater(t, total, 300)

		srv = fill()
		d = newDriver(t, srv.Addr)
		for cut := range total {
			srv.CutAfter(int64(cut))
			err := cutSession(t, d, mails)
			require.Error(t, err, "F04: cut after %d of %d bytes", cut, total)
			require.Equal(t, driver.KindTemporary, driver.KindOf(err), "F04: cut after %d bytes: %v", cut, err)
			if len(srv.Messages()) == 0 { // QUIT took effect, its reply was cut
				for _, m := range mails {
					srv.Add([]byte(m))
				}
			}
		}
		srv.CutAfter(int64(total))
		require.NoError(t, cutSession(t, d, mails))
		assert.Empty(t, srv.Messages())
	})
}

func cutSession(t *testing.T, d *Driver, mails []string) error {
	mb, err := d.open(t.Context(), &d.set)
	if err != nil {
		return err
	}
	defer func() { _ = mb.Close() }()
	ids, _, err := listIDs(t.Context(), mb)
	if err != nil {
		require.Empty(t, ids)
		return err
	}
	require.Len(t, ids, len(mails))
	got, err := fetchAll(t.Context(), mb, ids)
	for i, m := range mails {
		if text, ok := got[ids[i]]; ok {
			require.Equal(t, m, text, "F04: a mail that was handed on is whole")
		}
	}
	if err != nil {
		return err
	}
	if err := mb.Remove(t.Context(), ids); err != nil {
		return err
	}
	return mb.Commit(t.Context())
}
