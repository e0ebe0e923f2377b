package drivertest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"syscall"

	"github.com/maildriver/maildriver/driver"
)

// source gives a message's bytes anew each time.
func source(text string) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil }
}

// messageID is what messages of this case are recognised by.
func (e *env) messageID(name string) string { return name + "." + e.tag + "@drivertest.example" }

func (e *env) message(name string) *driver.Message {
	m := newMail(e.tag+"-"+name, 200)
	text := strings.Replace(string(m.raw), "<"+m.subject+"@drivertest.example>", "<"+e.messageID(name)+">", 1)
	return &driver.Message{From: e.srv.From, To: []driver.Recipient{{Address: e.srv.To[0]}}, MessageID: e.messageID(name), Open: source(text)}
}

// send is Send with what holds for every receipt.
func (e *env) send(ctx context.Context, d driver.Driver, m *driver.Message, opts ...driver.Option) (driver.Receipt, error) {
	e.Helper()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	rec, err := d.Send(ctx, m, opts...)
	if got := driver.DeliveryOf(err); got != rec.Delivery {
		e.Errorf("the receipt says %v, the error %v: %v", rec.Delivery, got, err)
	}
	if (err == nil) != (rec.Delivery == driver.DeliveryAccepted) {
		e.Errorf("%v with error %v: the error is nil if every recipient was accepted, and only then", rec.Delivery, err)
	}
	if len(rec.Recipients) != len(m.To) {
		e.Errorf("the receipt has %d recipients, the message %d", len(rec.Recipients), len(m.To))
		return rec, err
	}
	for i, r := range rec.Recipients {
		if r.Address != m.To[i].Address {
			e.Errorf("recipient %d of the receipt is %q, of the message %q", i+1, r.Address, m.To[i].Address)
		}
		if rec.Delivery == driver.DeliveryAccepted && r.Delivery != driver.DeliveryAccepted {
			e.Errorf("accepted, but %s is %v", r.Address, r.Delivery)
		}
	}
	return rec, err
}

func (e *env) mustSend(d driver.Driver, m *driver.Message) driver.Receipt {
	e.Helper()
	rec, err := e.send(e.Context(), d, m)
	if err != nil {
		e.Fatalf("Send: %v", err)
	}
	return rec
}

// sentTimes counts how often the server has a message.
func (e *env) sentTimes(name string) int {
	n := 0
	for _, data := range e.srv.Sent() {
		if bytes.Contains(data, []byte("<"+e.messageID(name)+">")) {
			n++
		}
	}
	return n
}

// wantSent holds what the server has against names, if it tells.
func (e *env) wantSent(names ...string) {
	e.Helper()
	if e.srv.Sent == nil {
		return
	}
	if got := len(e.srv.Sent()); got != len(names) {
		e.Errorf("the server has %d messages, want %d", got, len(names))
	}
	for _, name := range names {
		if n := e.sentTimes(name); n != 1 {
			e.Errorf("the server has message %q %d times", name, n)
		}
	}
}

// sendCases concern drivers that send.
var sendCases = []testCase{
	{
		name: "Accepted",
		why:  "the message must arrive with the bytes that the host composed, or its signatures break",
		need: needSend,
		run: func(e *env) {
			d := e.open()
			m := e.message("one")
			m.To = append(m.To, driver.Recipient{Address: e.srv.To[1]})
			rec := e.mustSend(d, m)
			if rec.Server == "" {
				e.Error("the receipt does not name the server")
			}
			e.wantSent("one")
			if e.srv.Sent == nil {
				return
			}
			r, _ := m.Open()
			want, _ := io.ReadAll(r)
			if got := e.srv.Sent()[0]; !bytes.HasSuffix(got, want) {
				e.Errorf("the server has other bytes than were sent:\n%q\nwant\n%q", got, want)
			}
		},
	},
	{
		name: "Partly",
		why:  "the host must know of each recipient whether the message will reach him",
		need: needSend | needRefused,
		run: func(e *env) {
			d := e.open()
			m := e.message("partly")
			m.To = []driver.Recipient{{Address: e.srv.To[0]}, {Address: e.srv.Refused}, {Address: e.srv.To[1]}}
			rec, err := e.send(e.Context(), d, m)
			if rec.Delivery != driver.DeliveryPartly {
				e.Fatalf("the outcome is %v with error %v, want partly", rec.Delivery, err)
			}
			for i, want := range []driver.Delivery{driver.DeliveryAccepted, driver.DeliveryRejected, driver.DeliveryAccepted} {
				if got := rec.Recipients[i].Delivery; got != want {
					e.Errorf("%s is %v, want %v", rec.Recipients[i].Address, got, want)
				}
			}
			e.wantSent("partly")
		},
	},
	{
		name: "Refused",
		why:  "what a server refuses for good must not be tried again, and nothing of it must be sent",
		need: needSend | needRefused,
		run: func(e *env) {
			d := e.open()
			m := e.message("refused")
			m.To = []driver.Recipient{{Address: e.srv.Refused}}
			rec, err := e.send(e.Context(), d, m)
			if rec.Delivery != driver.DeliveryRejected || driver.KindOf(err).Retryable() {
				e.Errorf("the outcome is %v of kind %v, want rejected and not to be tried again", rec.Delivery, driver.KindOf(err))
			}
			e.wantSent()
			e.mustSend(d, e.message("after"))
		},
	},
	{
		name: "Injection",
		why:  "an address that holds a line end must not become a command of its own (A12)",
		need: needSend,
		run: func(e *env) {
			d := e.open()
			for _, bad := range []string{"a\r\nRCPT TO:<v@example.com>@example.com", "a@example.com>\r\nDATA", "a\n@example.com", "a@example.com\x00", ""} {
				m := e.message("injected")
				m.To = append(m.To, driver.Recipient{Address: bad})
				rec, err := e.send(e.Context(), d, m)
				if rec.Delivery != driver.DeliveryRejected {
					e.Errorf("recipient %q: the outcome is %v with error %v, want rejected", bad, rec.Delivery, err)
				}
				if bad == "" {
					continue
				}
				m = e.message("injected")
				m.From = bad
				if rec, err = e.send(e.Context(), d, m); rec.Delivery != driver.DeliveryRejected {
					e.Errorf("sender %q: the outcome is %v with error %v, want rejected", bad, rec.Delivery, err)
				}
			}
			if _, wrote, _ := e.wire.counts(); wrote > 0 {
				e.Errorf("%d bytes went to the server", wrote)
			}
			e.wantSent()
		},
	},
	{
		name: "Again",
		why:  "a host sends one Message to several servers, and after an error again: it must be left as it was",
		need: needSend,
		run: func(e *env) {
			d := e.open()
			m := e.message("again")
			before := fmt.Sprint(m.From, m.To, m.MessageID, m.EnvelopeID, m.Return)
			e.mustSend(d, m)
			e.mustSend(d, m)
			if after := fmt.Sprint(m.From, m.To, m.MessageID, m.EnvelopeID, m.Return); after != before {
				e.Errorf("the message was changed from %s to %s", before, after)
			}
			if e.srv.Sent != nil && e.sentTimes("again") != 2 {
				e.Errorf("the server has the message %d times, want 2", e.sentTimes("again"))
			}
		},
	},
	{
		name: "BrokenSource",
		why:  "a message that cannot be read to its end must not arrive as a shorter one",
		need: needSend,
		run: func(e *env) {
			d := e.open()
			failing := e.message("source")
			failing.Open = func() (io.ReadCloser, error) { return nil, errHost }
			half := e.message("source")
			open := half.Open
			half.Open = func() (io.ReadCloser, error) {
				r, err := open()
				return io.NopCloser(io.MultiReader(io.LimitReader(r, 400), brokenReader{})), err
			}
			for _, m := range []*driver.Message{failing, half} {
				rec, err := e.send(e.Context(), d, m)
				e.wantError("Send", err, errHost)
				if rec.Delivery != driver.DeliveryDeferred && rec.Delivery != driver.DeliveryRejected {
					e.Errorf("the outcome is %v", rec.Delivery)
				}
			}
			e.wantSent()
			e.mustSend(d, e.message("after"))
		},
	},
	{
		name: "ManySenders",
		why:  "a host sends from any number of goroutines",
		need: needSend,
		run: func(e *env) {
			d := e.open()
			var names []string
			var wg sync.WaitGroup
			for i := range 6 {
				name := fmt.Sprintf("many%d", i)
				names = append(names, name)
				wg.Go(func() {
					if _, err := e.send(e.Context(), d, e.message(name)); err != nil {
						e.Errorf("Send: %v", err)
					}
				})
			}
			wg.Wait()
			e.wantSent(names...)
		},
	},
	{
		name: "SendCutReading",
		why:  "where the connection breaks decides whether the server has the message; a wrong verdict loses it or doubles it",
		need: needSend | needNetwork,
		run:  func(e *env) { e.cutSend(func(w *wire) *int64 { return &w.cutRead }) },
	},
	{
		name: "SendCutWriting",
		why:  "where the connection breaks decides whether the server has the message; a wrong verdict loses it or doubles it",
		need: needSend | needNetwork,
		run:  func(e *env) { e.cutSend(func(w *wire) *int64 { return &w.cutWrite }) },
	},
	{
		name: "SendDiskFull",
		why:  "a disk that is full on our side is no verdict of the server: the message can be sent later",
		need: needSend,
		run: func(e *env) {
			d := e.open()
			e.disk.failAt(1, -1, syscall.ENOSPC, opCreate, opWrite)
			rec, err := e.send(e.Context(), d, e.message("full"))
			if fired := e.disk.heal(); !fired && err != nil {
				e.Fatalf("Send: %v", err)
			} else if fired && err != nil {
				e.wantKind("Send", err, driver.KindLocal)
				e.wantError("Send", err, syscall.ENOSPC)
				if rec.Delivery != driver.DeliveryDeferred {
					e.Errorf("the outcome is %v, want deferred", rec.Delivery)
				}
				e.wantSent()
			}
			e.mustSend(d, e.message("later"))
		},
	},
	{
		name: "CloseDuringSend",
		why:  "Close must end a send promptly, and say whether the message may be sent again",
		need: needSend | needNetwork,
		run: func(e *env) {
			d := e.open()
			e.silence(func() error {
				rec, err := e.send(e.Context(), d, e.message("closing"))
				if rec.Delivery != driver.DeliveryDeferred {
					e.Errorf("the outcome is %v, want deferred: the message was not sent yet", rec.Delivery)
				}
				return err
			}, d)
			e.wantSent()
		},
	},
}

// cutSend sends message after message, with the connection broken at one byte
// after the other. Then it holds every verdict against what the server has.
func (e *env) cutSend(limit func(w *wire) *int64) {
	e.Helper()
	d := e.open()
	e.mustSend(d, e.message("whole"))
	read, wrote, _ := e.wire.counts()
	probe := wire{cutRead: read, cutWrite: wrote}
	verdicts := map[string]driver.Delivery{}
	for at := range e.positions(*limit(&probe)) {
		name := fmt.Sprintf("cut%d", at)
		e.wire.reset()
		e.wire.set(func(w *wire) { *limit(w) = at })
		rec, err := e.send(e.Context(), d, e.message(name))
		verdicts[name] = rec.Delivery
		cut := e.wire.cut()
		e.wire.reset()
		switch {
		case err != nil && !cut:
			e.Errorf("the message that was not cut was not sent: %v", err)
		case err == nil:
		case rec.Delivery == driver.DeliveryUnknown:
			e.wantKind("an unknown outcome", err, driver.KindAmbiguous)
		case rec.Delivery != driver.DeliveryDeferred:
			e.Errorf("cut after %d bytes: the outcome is %v with error %v, want deferred or unknown", at, rec.Delivery, err)
		}
	}
	e.mustSend(d, e.message("healed"))
	if e.srv.Sent == nil {
		return
	}
	for name, v := range verdicts {
		n := e.sentTimes(name)
		switch {
		case n > 1:
			e.Errorf("%s: the server has the message %d times", name, n)
		case v == driver.DeliveryAccepted && n == 0:
			e.Errorf("%s: accepted, and the server does not have it", name)
		case v == driver.DeliveryDeferred && n == 1:
			e.Errorf("%s: deferred, and the server has it: the next try doubles it", name)
		}
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errHost }
