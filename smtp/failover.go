package smtp

import (
	"context"
	"errors"
	"net"
	"strings"

	"github.com/maildriver/maildriver/driver"
)

// failsOver reports whether another server may be tried after f: only where
// nothing can have been accepted, and where another server may well say
// something else. That is so when no session came about, when the server left
// (421) before it took MAIL, and when the connection was lost before the end
// of the content was sent. A refusal is a verdict, a time-out after MAIL is the
// server's load, and a refused login should be noticed.
func failsOver(ctx context.Context, f *failure, t *transaction, set *settings) bool {
	if f == nil || ctx.Err() != nil || f.delivery == driver.DeliveryUnknown {
		return false
	}
	switch f.kind {
	case driver.KindClosed, driver.KindConfig, driver.KindLocal, driver.KindAmbiguous:
		return false
	}
	reply, replied := errors.AsType[*ReplyError](f.err)
	switch f.op {
	case "proxy": // it is in front of the other server, too: a login that it refused is not repeated
		return f.kind != driver.KindAuth
	case "dial", "tls", StageGreeting, StageEHLO, StageHELO, StageSTARTTLS:
		return true
	case StageAUTH:
		if f.kind == driver.KindAuth {
			return set.authFailover
		}
		return f.kind != driver.KindPolicy
	case StageIdle, StageMAIL, StageRCPT, StageDATA:
		if f.delivery == driver.DeliveryRejected {
			return false
		}
		if !t.mailOK {
			return !replied || reply.Code == 421
		}
		ne, ok := errors.AsType[net.Error](f.err)
		return !replied && f.kind == driver.KindTemporary && (!ok || !ne.Timeout())
	}
	return false
}

// incapable reports that the message was not begun because the server lacks
// something that it needs: an extension, or room. Of the backup server that is
// no verdict, as the first one may have it.
func incapable(f *failure) bool {
	if f == nil || f.delivery != driver.DeliveryRejected {
		return false
	}
	_, replied := errors.AsType[*ReplyError](f.err)
	return !replied
}

// A failoverError tells why no server took the message, the one tried first in
// front.
type failoverError struct{ tries []*driver.Error }

func (e *failoverError) Error() string {
	var b strings.Builder
	b.WriteString("no server could be used")
	for i, t := range e.tries {
		b.WriteString([]string{": ", "; "}[min(i, 1)])
		b.WriteString(t.Addr + " " + t.Op + ": " + t.Err.Error())
	}
	return b.String()
}

// Unwrap gives a [*driver.Error] for each server.
func (e *failoverError) Unwrap() []error {
	list := make([]error, len(e.tries))
	for i, t := range e.tries {
		list[i] = t
	}
	return list
}

// kind is the kind of both failures if that is one, else temporary. What two
// servers refused for good is still deferred, as neither gave a verdict on the
// message, and so it is temporary.
func (e *failoverError) kind() driver.Kind {
	k := e.tries[0].Kind
	for _, t := range e.tries {
		if t.Kind != k || k == driver.KindPermanent {
			return driver.KindTemporary
		}
	}
	return k
}

// weaker reports in what way the connection of b is protected less than that
// of a, "" if in none.
func weaker(a, b *driver.Network) string {
	switch {
	case a.Security != driver.SecurityNone && b.Security == driver.SecurityNone:
		return "no TLS"
	case b.InsecureSkipVerify && !a.InsecureSkipVerify:
		return "no check of the certificate"
	case b.AllowInsecureAuth && !a.AllowInsecureAuth && b.Security == driver.SecurityNone:
		return "a password in clear"
	}
	return ""
}
