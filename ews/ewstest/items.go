package ewstest

import (
	"encoding/base64"
	"fmt"
	"io"
	"slices"
	"strings"
)

// ForgetSyncStates drops the sync states of a folder of the first account: the next
// SyncFolderItems is told that its state is invalid.
func (s *Server) ForgetSyncStates(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.first().find(path)
	f.log = nil
	for _, it := range f.items {
		f.log = append(f.log, change{"Create", it.ID})
	}
	f.epoch++
}

// lookup finds an item of a request. The caller holds s.mu.
func (s *Server) lookup(id string) (*folder, *Item) {
	for _, b := range s.boxes {
		for _, f := range b.folders {
			if it := f.item(id); it != nil {
				return f, it
			}
		}
	}
	return nil, nil
}

// each calls do for the objects of a request, in their order.
func (s *Server) each(o *out, ids *element, do func(f *folder, it *Item, e *element)) {
	for _, e := range ids.all() {
		f, it := s.lookup(e.attr("Id"))
		if it == nil {
			o.fail("ErrorItemNotFound", "The specified object was not found in the store.")
			continue
		}
		do(f, it, e)
	}
}

// getItem writes contents as a stream: they may be larger than memory.
func (s *Server) getItem(o *out, req *Request) {
	shape := req.root.kid("ItemShape")
	type found struct {
		item Item
		ok   bool
	}
	var list []found
	s.mu.Lock()
	for _, e := range req.root.kid("ItemIds").all() {
		if _, it := s.lookup(e.attr("Id")); it != nil {
			list = append(list, found{*it, true})
		} else {
			list = append(list, found{})
		}
	}
	s.mu.Unlock()
	for _, x := range list {
		switch {
		case !x.ok:
			o.fail("ErrorItemNotFound", "The specified object was not found in the store.")
		case shape.kid("IncludeMimeContent").text() != "true":
			o.ok("<m:Items>" + x.item.header("") + "</m:Items>")
		case x.item.Code != "":
			o.fail(x.item.Code, "The content could not be converted.")
		default:
			o.content(&x.item)
		}
	}
}

const contentMark = "\x00"

// content writes an item with its MIME content in front.
func (o *out) content(it *Item) {
	whole := success(o.op, "<m:Items>"+it.header(`<t:MimeContent CharacterSet="UTF-8">`+contentMark+"</t:MimeContent>")+"</m:Items>")
	before, after, _ := strings.Cut(whole, contentMark)
	o.raw(before)
	if it.Base64 != "" {
		_, _ = o.w.WriteString(it.Base64)
	} else {
		enc := base64.NewEncoder(base64.StdEncoding, o.w)
		_, _ = io.Copy(enc, it.open())
		_ = enc.Close()
	}
	o.raw(after)
}

func (s *Server) deleteItem(o *out, req *Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	how := req.Attr("DeleteType")
	s.each(o, req.root.kid("ItemIds"), func(f *folder, it *Item, _ *element) {
		f.take(it.ID)
		to := map[string]string{"MoveToDeletedItems": "DeletedItems", "SoftDelete": "RecoverableItemsDeletions", "HardDelete": "RecoverableItemsPurges"}[how]
		s.moveTo(s.boxOf(f).find(to), it)
		o.ok("")
	})
}

// moveTo puts an item that was taken out of one folder into another, where it
// has a new id.
func (s *Server) moveTo(f *folder, it *Item) {
	moved := *it
	s.put(f, moved)
}

func (s *Server) moveItem(o *out, req *Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	to := s.folder(req, req.root.kid("ToFolderId"))
	s.each(o, req.root.kid("ItemIds"), func(f *folder, it *Item, _ *element) {
		if to == nil {
			o.fail("ErrorToFolderNotFound", "The specified folder could not be found in the store.")
			return
		}
		f.take(it.ID)
		s.moveTo(to, it)
		if req.root.kid("ReturnNewItemIds").text() == "false" {
			o.ok("<m:Items/>")
			return
		}
		o.ok(fmt.Sprintf(`<m:Items><t:Message><t:ItemId Id="%s" ChangeKey="X"/></t:Message></m:Items>`, escape(to.items[len(to.items)-1].ID)))
	})
}

func (s *Server) updateItem(o *out, req *Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range req.root.kid("ItemChanges").all() {
		id := c.kid("ItemId")
		f, it := s.lookup(id.attr("Id"))
		switch {
		case it == nil:
			o.fail("ErrorItemNotFound", "The specified object was not found in the store.")
		case id.attr("ChangeKey") == "":
			o.fail("ErrorChangeKeyRequiredForWriteOperations", "This operation requires the change key.")
		case id.attr("ChangeKey") != it.ChangeKey:
			o.fail("ErrorIrresolvableConflict", "The send or update operation could not be performed because the change key passed in the request does not match the current change key for the item.")
		default:
			it.Read = slices.Contains(c.values("IsRead", ""), "true")
			it.ChangeKey = s.newKey()
			f.log = append(f.log, change{"ReadFlagChange", it.ID})
			o.ok(fmt.Sprintf(`<m:Items><t:Message><t:ItemId Id="%s" ChangeKey="%s"/></t:Message></m:Items><m:ConflictResults><t:Count>0</t:Count></m:ConflictResults>`, escape(it.ID), escape(it.ChangeKey)))
		}
	}
}

// createItem takes a message to send, for all its recipients or none.
func (s *Server) createItem(o *out, req *Request) {
	m := req.root.kid("Items", "Message")
	raw, err := base64.StdEncoding.DecodeString(m.kid("MimeContent").text())
	switch {
	case req.Attr("MessageDisposition") == "":
		o.fail("ErrorMessageDispositionRequired", "The message disposition is required.")
		return
	case err != nil:
		o.fail("ErrorMimeContentInvalidBase64String", "The MIME content is not valid base64.")
		return
	}
	sent := Sent{MIME: raw, Disposition: req.Attr("MessageDisposition"), Level: req.Level, User: req.user}
	for _, b := range m.kid("BccRecipients").all() {
		sent.Bcc = append(sent.Bcc, b.kid("EmailAddress").text())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range append(headerAddresses(raw), sent.Bcc...) {
		if s.refused[strings.ToLower(a)] {
			o.fail("ErrorInvalidRecipients", "At least one recipient is not valid.")
			return
		}
	}
	if sent.Disposition == "SendAndSaveCopy" {
		to := s.boxes[strings.ToLower(req.user)].find("SentItems")
		if e := req.root.kid("SavedItemFolderId"); e != nil {
			to = s.folder(req, e)
		}
		if to == nil {
			o.fail("ErrorFolderNotFound", "The specified folder could not be found in the store.")
			return
		}
		s.put(to, Item{Raw: raw})
		sent.SavedTo = to.path()
	}
	s.sent = append(s.sent, sent)
	o.ok("<m:Items/>")
}

// headerAddresses gives what looks like an address in To and Cc.
func headerAddresses(raw []byte) (list []string) {
	head, _, _ := strings.Cut(string(raw), "\r\n\r\n")
	for line := range strings.Lines(strings.ReplaceAll(head, "\r\n ", " ")) {
		name, value, _ := strings.Cut(line, ":")
		if !strings.EqualFold(name, "To") && !strings.EqualFold(name, "Cc") {
			continue
		}
		for word := range strings.FieldsFuncSeq(value, func(r rune) bool { return strings.ContainsRune(" <>,;\"\r\n", r) }) {
			if strings.Contains(word, "@") {
				list = append(list, word)
			}
		}
	}
	return list
}
