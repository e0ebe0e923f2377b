package pop3test

import (
	"net"
	"time"
)

// loggedReader records what the client sends.
type loggedReader struct {
	conn net.Conn
	log  *transcript
}

func (r loggedReader) Read(p []byte) (int, error) {
	n, err := r.conn.Read(p)
	r.log.client(p[:n])
	return n, err
}

// scriptedWriter records what the server sends, and sends it as the script
// wants it: slowly, not at all, or up to a number of bytes.
type scriptedWriter struct {
	sess  *session
	conn  net.Conn
	mute  bool
	drip  time.Duration
	total int64 // bytes left on this connection; < 0: no limit
	reply int64 // bytes left of this reply; < 0: no limit
}

func (w *scriptedWriter) Write(p []byte) (int, error) {
	if w.mute {
		return len(p), nil
	}
	send, cut := p, false
	for _, left := range []int64{w.total, w.reply} {
		if left >= 0 && int64(len(send)) > left {
			send, cut = send[:left], true
		}
	}
	n, err := w.send(send)
	if w.total >= 0 {
		w.total -= int64(n)
	}
	if w.reply >= 0 {
		w.reply -= int64(n)
	}
	if err == nil && cut {
		// The bare connection is closed, so that a TLS client sees a cut and
		// no orderly end.
		w.sess.end()
		return n, errGone
	}
	return n, err
}

func (w *scriptedWriter) send(p []byte) (int, error) {
	// What is sent is noted first, so that whoever has read it finds it in the
	// transcript.
	if w.drip == 0 {
		w.sess.log.server(p)
		return w.conn.Write(p)
	}
	tick := time.NewTicker(w.drip)
	defer tick.Stop()
	for i := range p {
		select {
		case <-tick.C:
		case <-w.sess.srv.done:
			return i, errGone
		}
		w.sess.log.server(p[i : i+1])
		if _, err := w.conn.Write(p[i : i+1]); err != nil {
			return i, err
		}
	}
	return len(p), nil
}
