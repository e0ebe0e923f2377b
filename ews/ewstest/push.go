package ewstest

import (
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// A subscription tells of new items in a folder.
type subscription struct {
	folder *folder
	events []string
	wake   chan struct{} // has room for one
	closed bool          // the next word is Closed
}

// notify tells the subscriptions of a folder. The caller holds s.mu.
func (s *Server) notify(f *folder, event, id string) {
	for _, sub := range s.subs {
		if sub.folder != f {
			continue
		}
		sub.events = append(sub.events, fmt.Sprintf(`<t:%s><t:TimeStamp>2026-11-22T08:00:00Z</t:TimeStamp><t:ItemId Id="%s" ChangeKey="X"/><t:ParentFolderId Id="%s" ChangeKey="AQAAAB"/></t:%s>`, event, escape(id), escape(f.id), event))
		sub.poke()
	}
}

func (sub *subscription) poke() {
	select {
	case sub.wake <- struct{}{}:
	default:
	}
}

func (s *Server) subscribe(o *out, req *Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.folder(req, req.root.kid("StreamingSubscriptionRequest", "FolderIds"))
	if f == nil {
		o.fail("ErrorFolderNotFound", "The specified folder could not be found in the store.")
		return
	}
	id := s.newID("S")
	s.subs[id] = &subscription{folder: f, wake: make(chan struct{}, 1)}
	o.ok("<m:SubscriptionId>" + escape(id) + "</m:SubscriptionId>")
}

func (s *Server) unsubscribe(o *out, req *Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := req.root.kid("SubscriptionId").text()
	if s.subs[id] == nil {
		o.fail("ErrorSubscriptionNotFound", "The specified subscription was not found.")
		return
	}
	delete(s.subs, id)
	o.ok("")
}

// Subscriptions counts the subscriptions.
func (s *Server) Subscriptions() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.subs)
}

// DropSubscriptions forgets all subscriptions: their next use is told that they
// are not there.
func (s *Server) DropSubscriptions() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, sub := range s.subs {
		sub.closed = true
		sub.poke()
		delete(s.subs, id)
	}
}

// CloseStreams ends every GetStreamingEvents as its time-out does.
func (s *Server) CloseStreams() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sub := range s.subs {
		sub.closed = true
		sub.poke()
	}
}

// StreamEnvelope is one envelope of GetStreamingEvents, with the events' XML and
// a status, "OK" or "Closed".
func StreamEnvelope(events, status string) []byte {
	if events != "" {
		events = "<m:Notifications><m:Notification><t:SubscriptionId>S</t:SubscriptionId>" + events + "</m:Notification></m:Notifications>"
	}
	return []byte(envelope("", "GetStreamingEvents", success("GetStreamingEvents", events+"<m:ConnectionStatus>"+status+"</m:ConnectionStatus>")))
}

const statusEvent = "<t:StatusEvent/>"

// getStreamingEvents answers with envelope after envelope.
func (s *Server) getStreamingEvents(w http.ResponseWriter, r *http.Request, req *Request) {
	id := req.root.kid("SubscriptionIds", "SubscriptionId").text()
	s.mu.Lock()
	sub := s.subs[id]
	s.mu.Unlock()
	w.Header().Set("Content-Type", "text/xml; charset=utf-8")
	if sub == nil {
		o := s.begin(w, req.Operation)
		o.fail("ErrorSubscriptionNotFound", "The specified subscription was not found.")
		o.end()
		return
	}
	minutes, _ := strconv.Atoi(req.root.kid("ConnectionTimeout").text())
	over := time.NewTimer(time.Duration(minutes) * time.Minute)
	defer over.Stop()
	flush := http.NewResponseController(w)
	say := func(events, status string) bool {
		_, err := w.Write(StreamEnvelope(events, status))
		return err == nil && flush.Flush() == nil
	}
	if !say(statusEvent, "OK") {
		return
	}
	for {
		s.mu.Lock()
		events, closed := sub.events, sub.closed
		sub.events, sub.closed = nil, false
		s.mu.Unlock()
		for _, e := range events {
			if !say(e, "OK") {
				return
			}
		}
		if closed {
			say("", "Closed")
			return
		}
		select {
		case <-sub.wake:
		case <-over.C:
			say("", "Closed")
			return
		case <-r.Context().Done():
			return
		case <-s.done:
			return
		}
	}
}
