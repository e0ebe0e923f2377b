package ewstest

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// operate answers a request of an account.
func (s *Server) operate(w http.ResponseWriter, r *http.Request, req *Request) {
	if req.root == nil {
		s.fault(w, "ErrorInvalidRequest", "The request is invalid.")
		return
	}
	if n := levelNumber(req.Level); n < 0 || n > levelNumber(s.level()) {
		s.fault(w, "ErrorInvalidServerVersion", "The specified server version is invalid.")
		return
	}
	if req.ActFor != "" {
		req.user = req.ActFor
		s.mu.Lock()
		_, ok := s.boxes[strings.ToLower(req.ActFor)]
		s.mu.Unlock()
		if !ok {
			s.fault(w, "ErrorNonExistentMailbox", "No mailbox with such guid.")
			return
		}
	}
	run := map[string]func(*Server, *out, *Request){
		"GetFolder": (*Server).getFolder, "FindFolder": (*Server).findFolder, "FindItem": (*Server).findItem,
		"SyncFolderItems": (*Server).syncFolderItems, "GetItem": (*Server).getItem, "DeleteItem": (*Server).deleteItem,
		"MoveItem": (*Server).moveItem, "UpdateItem": (*Server).updateItem, "CreateItem": (*Server).createItem,
		"Subscribe": (*Server).subscribe, "Unsubscribe": (*Server).unsubscribe,
	}[req.Operation]
	switch {
	case req.Operation == "GetStreamingEvents":
		s.getStreamingEvents(w, r, req)
	case run == nil, s.unknown(req):
		s.fault(w, "ErrorSchemaValidation", "The request failed schema validation.")
	default:
		o := s.begin(w, req.Operation)
		run(s, o, req)
		o.end()
	}
}

// unknown reports what a server of this level does not know.
func (s *Server) unknown(req *Request) bool {
	level := levelNumber(s.level())
	for _, id := range req.Attrs("DistinguishedFolderId", "Id") {
		if n, ok := since[id]; !ok || n > level {
			return true
		}
	}
	return level < 3 && (len(req.Values("ReturnNewItemIds")) > 0 || len(req.Values("StreamingSubscriptionRequest")) > 0) ||
		level < 5 && req.Attr("SuppressReadReceipts") != ""
}

// folder finds the folder that an element names. The caller holds s.mu.
func (s *Server) folder(req *Request, parent *element) *folder {
	for _, e := range parent.all() {
		user := req.user
		if a := e.kid("Mailbox", "EmailAddress").text(); a != "" {
			user = a
		}
		b := s.boxes[strings.ToLower(user)]
		if b == nil {
			return nil
		}
		for _, f := range b.folders {
			if e.XMLName.Local == "FolderId" && f.id == e.attr("Id") || e.XMLName.Local == "DistinguishedFolderId" && f.known == e.attr("Id") {
				return f
			}
		}
		// Ids are good in every mailbox that the account may open.
		for _, b := range s.boxes {
			for _, f := range b.folders {
				if e.XMLName.Local == "FolderId" && f.id == e.attr("Id") {
					return f
				}
			}
		}
	}
	return nil
}

func (s *Server) getFolder(o *out, req *Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.folder(req, req.root.kid("FolderIds"))
	if f == nil {
		o.fail("ErrorFolderNotFound", "The specified folder could not be found in the store.")
		return
	}
	o.ok(fmt.Sprintf(`<m:Folders><t:Folder><t:FolderId Id="%s" ChangeKey="AQAAAB"/></t:Folder></m:Folders>`, escape(f.id)))
}

// window reads the view of a request.
func (s *Server) window(view *element) (offset, size int) {
	offset, _ = strconv.Atoi(view.attr("Offset"))
	size, err := strconv.Atoi(view.attr("MaxEntriesReturned"))
	if err != nil || size <= 0 {
		size = s.pageLimit
	}
	return offset, min(size, s.pageLimit)
}

func (s *Server) findFolder(o *out, req *Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.folder(req, req.root.kid("ParentFolderIds"))
	if f == nil {
		o.fail("ErrorFolderNotFound", "The specified folder could not be found in the store.")
		return
	}
	offset, size := s.window(req.root.kid("IndexedPageFolderView"))
	offset = min(offset, len(f.kids))
	end := min(offset+size, len(f.kids))
	var b strings.Builder
	for _, k := range f.kids[offset:end] {
		fmt.Fprintf(&b, `<t:Folder><t:FolderId Id="%s" ChangeKey="AQAAAB"/><t:DisplayName>%s</t:DisplayName></t:Folder>`, escape(k.id), escape(k.name))
	}
	o.ok(fmt.Sprintf(`<m:RootFolder IndexedPagingOffset="%d" TotalItemsInView="%d" IncludesLastItemInRange="%t"><t:Folders>%s</t:Folders></m:RootFolder>`,
		end, len(f.kids), end == len(f.kids), b.String()))
}

// header writes an item as listings and GetItem show it. content is what goes in
// front.
func (it *Item) header(content string) string {
	subject := ""
	if it.Subject != "" {
		subject = "<t:Subject>" + it.Subject + "</t:Subject>"
	}
	return fmt.Sprintf(`<t:%s>%s<t:ItemId Id="%s" ChangeKey="%s"/>%s<t:DateTimeReceived>%s</t:DateTimeReceived><t:Size>%d</t:Size><t:IsRead>%t</t:IsRead></t:%s>`,
		it.element(), content, escape(it.ID), escape(it.ChangeKey), subject, it.Received.UTC().Format("2006-01-02T15:04:05.000Z"), it.size(), it.Read, it.element())
}

func (s *Server) findItem(o *out, req *Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.folder(req, req.root.kid("ParentFolderIds"))
	if f == nil {
		o.fail("ErrorFolderNotFound", "The specified folder could not be found in the store.")
		return
	}
	items := slices.Clone(f.items)
	if req.root.kid("SortOrder") != nil {
		slices.SortStableFunc(items, func(a, b *Item) int { return a.Received.Compare(b.Received) })
	}
	offset, size := s.window(req.root.kid("IndexedPageItemView"))
	offset = min(offset, len(items))
	end := min(offset+size, len(items))
	var b strings.Builder
	for _, it := range items[offset:end] {
		b.WriteString(it.header(""))
	}
	o.ok(fmt.Sprintf(`<m:RootFolder IndexedPagingOffset="%d" TotalItemsInView="%d" IncludesLastItemInRange="%t"><t:Items>%s</t:Items></m:RootFolder>`,
		end, len(items), end == len(items), b.String()))
}

// state names what the sync states of the folder belong to.
func (f *folder) state() string { return fmt.Sprintf("%s#%d", f.id, f.epoch) }

// syncFolderItems replays the log of the folder from the place that the state
// names. Servers since 2010 SP2 give the newest of a batch first.
func (s *Server) syncFolderItems(o *out, req *Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.folder(req, req.root.kid("SyncFolderId"))
	if f == nil {
		o.fail("ErrorSyncFolderNotFound", "The specified folder could not be found in the store.")
		return
	}
	at := 0
	if state := req.root.kid("SyncState").text(); state != "" {
		id, n, _ := strings.Cut(state, "|")
		var err error
		if at, err = strconv.Atoi(n); err != nil || id != f.state() || at < 0 || at > len(f.log) {
			o.fail("ErrorInvalidSyncStateData", "Synchronization state data is corrupt or otherwise invalid.")
			return
		}
	}
	most, _ := strconv.Atoi(req.root.kid("MaxChangesReturned").text())
	var list []string
	for ; at < len(f.log) && len(list) < min(most, s.pageLimit); at++ {
		c := f.log[at]
		it := f.item(c.id)
		switch {
		case c.kind == "Delete":
			list = append(list, fmt.Sprintf(`<t:Delete><t:ItemId Id="%s"/></t:Delete>`, escape(c.id)))
		case it == nil: // a Delete follows
		case c.kind == "ReadFlagChange":
			list = append(list, fmt.Sprintf(`<t:ReadFlagChange><t:ItemId Id="%s" ChangeKey="%s"/><t:IsRead>%t</t:IsRead></t:ReadFlagChange>`, escape(it.ID), escape(it.ChangeKey), it.Read))
		default:
			list = append(list, "<t:"+c.kind+">"+it.header("")+"</t:"+c.kind+">")
		}
	}
	if levelNumber(s.level()) >= 4 {
		slices.Reverse(list)
	}
	o.ok(fmt.Sprintf(`<m:SyncState>%s|%d</m:SyncState><m:IncludesLastItemInRange>%t</m:IncludesLastItemInRange><m:Changes>%s</m:Changes>`,
		escape(f.state()), at, at == len(f.log), strings.Join(list, "")))
}
