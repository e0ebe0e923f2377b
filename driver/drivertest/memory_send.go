package drivertest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/maildriver/maildriver/driver"
)

// Send hands the message to the relay; see [driver.Sender]. A message is at
// most 64 MiB long.
func (d *MemoryDriver) Send(ctx context.Context, m *driver.Message, opts ...driver.Option) (driver.Receipt, error) {
	rec := driver.Receipt{Delivery: driver.DeliveryDeferred, Recipients: make([]driver.RecipientReceipt, len(m.To))}
	for i, to := range m.To {
		rec.Recipients[i] = driver.RecipientReceipt{Address: to.Address, Delivery: driver.DeliveryDeferred}
	}
	ctx, end, ok := d.life.Begin(ctx, driver.ErrClosed)
	if !ok {
		return rec, memoryError("send", driver.KindClosed, &driver.DeliveryError{Delivery: driver.DeliveryDeferred, Err: driver.ErrClosed})
	}
	defer end()
	o := d.set
	err := driver.Apply(opts, &o.net, &o.common, &o.inbound)
	if err == nil {
		err = context.Cause(ctx)
	}
	if err == nil {
		err = d.transmit(ctx, &o, m, &rec)
	}
	switch {
	case err == nil && rec.Delivery == driver.DeliveryAccepted:
		return rec, nil
	case err == nil:
		err = memoryError("send", driver.KindPermanent, errRefused)
	case errors.As(err, new(*outcome)):
		rec.Delivery = driver.DeliveryOf(err)
		for i := range rec.Recipients {
			if rec.Delivery != driver.DeliveryUnknown || rec.Recipients[i].Delivery != driver.DeliveryRejected {
				rec.Recipients[i].Delivery = rec.Delivery
			}
		}
	}
	return rec, &driver.Error{
		Op: "send", Driver: memoryName, Addr: "memory:1", Kind: driver.KindOf(err),
		Err: &driver.DeliveryError{Delivery: rec.Delivery, Err: err},
	}
}

// An outcome is a failure that decides for all recipients.
type outcome struct{ error }

func (o *outcome) Unwrap() error { return o.error }

func decided(v driver.Delivery, k driver.Kind, err error) error {
	return &outcome{memoryError("send", k, &driver.DeliveryError{Delivery: v, Err: err})}
}

func (d *MemoryDriver) transmit(ctx context.Context, o *memoryOptions, m *driver.Message, rec *driver.Receipt) error {
	if err := checkEnvelope(m); err != nil {
		return decided(driver.DeliveryRejected, driver.KindPermanent, err)
	}
	data, err := readMessage(m)
	if err != nil {
		return decided(driver.DeliveryDeferred, driver.KindUnknown, err)
	}
	c, err := d.m.connect(ctx, o)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	defer c.Watch(ctx)()
	rec.Server = "memory:1"
	if _, err := c.call(VerbFrom, m.From); err != nil {
		return err
	}
	accepted := 0
	for i, to := range m.To {
		switch _, err := c.call(VerbTo, to.Address); {
		case err == nil:
			accepted++
		case errors.Is(err, errRefused):
			rec.Recipients[i].Delivery = driver.DeliveryRejected
		default:
			return err
		}
	}
	if accepted == 0 {
		rec.Delivery = driver.DeliveryRejected
		return nil
	}
	if err := c.data(data); err != nil {
		return err
	}
	rec.Delivery = driver.DeliveryAccepted
	for i := range rec.Recipients {
		if rec.Recipients[i].Delivery == driver.DeliveryRejected {
			rec.Delivery = driver.DeliveryPartly
		} else {
			rec.Recipients[i].Delivery = driver.DeliveryAccepted
		}
	}
	return nil
}

// data sends the content. Once its last byte may have arrived, a lost answer
// leaves the outcome unknown.
func (c *memoryConn) data(data []byte) error {
	_, err := fmt.Fprintf(c, "%s %d\n%s", VerbData, len(data), data)
	if err == nil {
		err = c.Flush()
	}
	if err != nil && c.Taken() < c.Queued() {
		return err
	}
	if err == nil {
		_, err = c.reply(VerbData)
	}
	if err != nil && c.Err() != nil {
		return decided(driver.DeliveryUnknown, driver.KindAmbiguous, err)
	}
	return err
}

func readMessage(m *driver.Message) ([]byte, error) {
	r, err := m.Open()
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Close() }()
	data, err := io.ReadAll(io.LimitReader(r, maxMemoryMessage+1))
	if err == nil && len(data) > maxMemoryMessage {
		err = fmt.Errorf("%w: the message is longer than %d bytes", driver.ErrLimit, maxMemoryMessage)
	}
	return data, err
}

// checkEnvelope refuses addresses that would be more than one line.
func checkEnvelope(m *driver.Message) error {
	if len(m.To) == 0 {
		return errors.New("there is no recipient")
	}
	check := func(what, a string) error {
		if len(a) > maxMemoryLine/2 || strings.ContainsFunc(a, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '<' || r == '>' }) {
			return fmt.Errorf("%s %.60q is not an address", what, a)
		}
		return nil
	}
	if err := check("sender", m.From); err != nil {
		return err
	}
	for _, to := range m.To {
		if to.Address == "" {
			return errors.New("a recipient has no address")
		}
		if err := check("recipient", to.Address); err != nil {
			return err
		}
	}
	return nil
}
