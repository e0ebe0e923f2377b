package smtp

import (
	"errors"

	"github.com/maildriver/maildriver/driver"
)

// conclude makes the receipt and the error of a send out of the recipients'
// results and of what ended the transaction early, if anything did.
func conclude(m *driver.Message, addr string, results []result, f *failure) (driver.Receipt, error) {
	if f != nil {
		settle(results, f)
	}
	rec := driver.Receipt{
		Delivery:   overall(results),
		Server:     addr,
		Recipients: make([]driver.RecipientReceipt, len(results)),
	}
	for i, r := range results {
		rr := driver.RecipientReceipt{Address: m.To[i].Address, Delivery: r.delivery}
		if r.reply != nil {
			rr.Code, rr.Enhanced, rr.Text = r.reply.Code, r.reply.Enhanced, r.reply.Text()
		}
		rec.Recipients[i] = rr
	}
	if len(results) == 0 && f != nil {
		rec.Delivery = f.delivery
	}
	reply := decisive(results, rec.Delivery)
	if reply == nil {
		reply = replyOf(f)
	}
	if reply != nil {
		rec.Code, rec.Enhanced, rec.Text = reply.Code, reply.Enhanced, reply.Text()
	}
	if rec.Delivery == driver.DeliveryAccepted {
		return rec, nil
	}
	e := &driver.Error{Driver: driverName, Addr: addr}
	cause := &driver.DeliveryError{Delivery: rec.Delivery}
	if f != nil {
		e.Op, e.Kind, cause.Err = f.op, f.kind, f.err
		if f.delivery != rec.Delivery { // earlier replies weigh more
			e.Kind = kindOf(rec.Delivery)
		}
	} else {
		e.Op, e.Kind, cause.Err = refusedAt(results), kindOf(rec.Delivery), summary(m.To, results)
	}
	e.Err = cause
	return rec, e
}

// kindOf is the kind of an outcome that the server's replies decided. Partly is
// permanent: the same call would send to the accepted ones again.
func kindOf(d driver.Delivery) driver.Kind {
	switch d {
	case driver.DeliveryDeferred:
		return driver.KindTemporary
	case driver.DeliveryUnknown:
		return driver.KindAmbiguous
	}
	return driver.KindPermanent
}

// refusedAt is the stage of the last refusal: the dot comes after RCPT.
func refusedAt(results []result) string {
	stage := StageRCPT
	for _, r := range results {
		if r.delivery != driver.DeliveryAccepted && r.reply != nil && r.reply.Stage == StageDot {
			stage = StageDot
		}
	}
	return stage
}

func replyOf(f *failure) *ReplyError {
	if f == nil {
		return nil
	}
	if re, ok := errors.AsType[*ReplyError](f.err); ok {
		return re
	}
	return nil
}
