package ews

import "strconv"

// The operations, as they are written. The order of elements is that of the
// schema, and counts.

func getFolder(f folderRef) func(Version) []byte {
	return func(Version) []byte {
		m := operation("GetFolder")
		m.raw("<m:FolderShape><t:BaseShape>IdOnly</t:BaseShape></m:FolderShape><m:FolderIds>")
		f.write(m)
		return m.raw("</m:FolderIds>").end("GetFolder")
	}
}

func findFolder(parent folderRef, offset int) func(Version) []byte {
	return func(Version) []byte {
		m := operation("FindFolder", "Traversal", "Shallow")
		m.raw(`<m:FolderShape><t:BaseShape>IdOnly</t:BaseShape><t:AdditionalProperties><t:FieldURI FieldURI="folder:DisplayName"/></t:AdditionalProperties></m:FolderShape>`)
		m.raw("<m:IndexedPageFolderView").attr("MaxEntriesReturned", strconv.Itoa(folderPage)).attr("Offset", strconv.Itoa(offset)).attr("BasePoint", "Beginning").raw("/>")
		m.raw("<m:ParentFolderIds>")
		parent.write(m)
		return m.raw("</m:ParentFolderIds>").end("FindFolder")
	}
}

// itemShape asks for what a listing needs.
const itemShape = `<m:ItemShape><t:BaseShape>IdOnly</t:BaseShape><t:AdditionalProperties>` +
	`<t:FieldURI FieldURI="item:Size"/><t:FieldURI FieldURI="item:DateTimeReceived"/><t:FieldURI FieldURI="message:IsRead"/>` +
	`</t:AdditionalProperties></m:ItemShape>`

// findItem lists a part of a folder, oldest first. Unread mails are not chosen
// here: what is known of the others must be remembered, too.
func findItem(f folderRef, offset, size int) func(Version) []byte {
	return func(Version) []byte {
		m := operation("FindItem", "Traversal", "Shallow")
		m.raw(itemShape)
		m.raw("<m:IndexedPageItemView").attr("MaxEntriesReturned", strconv.Itoa(size)).attr("Offset", strconv.Itoa(offset)).attr("BasePoint", "Beginning").raw("/>")
		m.raw(`<m:SortOrder><t:FieldOrder Order="Ascending"><t:FieldURI FieldURI="item:DateTimeReceived"/></t:FieldOrder></m:SortOrder>`)
		m.raw("<m:ParentFolderIds>")
		f.write(m)
		return m.raw("</m:ParentFolderIds>").end("FindItem")
	}
}

func syncFolderItems(f folderRef, state string, most int) func(Version) []byte {
	return func(Version) []byte {
		m := operation("SyncFolderItems")
		m.raw(itemShape, "<m:SyncFolderId>")
		f.write(m)
		m.raw("</m:SyncFolderId>")
		if state != "" {
			m.element("m:SyncState", state)
		}
		return m.element("m:MaxChangesReturned", strconv.Itoa(most)).end("SyncFolderItems")
	}
}

// An itemID names an item. The change key says which state of it is meant; ""
// leaves it out.
type itemID struct{ id, key string }

func (i itemID) write(m *markup) {
	m.raw("<t:ItemId").attr("Id", i.id)
	if i.key != "" {
		m.attr("ChangeKey", i.key)
	}
	m.raw("/>")
}

func writeIDs(m *markup, ids []itemID) {
	m.raw("<m:ItemIds>")
	for _, id := range ids {
		id.write(m)
	}
	m.raw("</m:ItemIds>")
}

// getMIME asks for messages. IncludeMimeContent follows BaseShape.
func getMIME(ids []itemID) func(Version) []byte {
	return func(Version) []byte {
		m := operation("GetItem")
		m.raw("<m:ItemShape><t:BaseShape>IdOnly</t:BaseShape><t:IncludeMimeContent>true</t:IncludeMimeContent></m:ItemShape>")
		writeIDs(m, ids)
		return m.end("GetItem")
	}
}

// getIDs asks for the change keys of items.
func getIDs(ids []itemID) func(Version) []byte {
	return func(Version) []byte {
		m := operation("GetItem")
		m.raw("<m:ItemShape><t:BaseShape>IdOnly</t:BaseShape></m:ItemShape>")
		writeIDs(m, ids)
		return m.end("GetItem")
	}
}

func deleteItems(how string) func([]itemID) func(Version) []byte {
	return func(ids []itemID) func(Version) []byte {
		return func(v Version) []byte {
			// The latter two are required if the mail turns out to be a meeting
			// or a task.
			attrs := []string{"DeleteType", how, "SendMeetingCancellations", "SendToNone", "AffectedTaskOccurrences", "AllOccurrences"}
			if v >= Exchange2013 {
				// A program that deletes a mail has not read it.
				attrs = append(attrs, "SuppressReadReceipts", "true")
			}
			m := operation("DeleteItem", attrs...)
			writeIDs(m, ids)
			return m.end("DeleteItem")
		}
	}
}

func moveItems(to folderRef) func([]itemID) func(Version) []byte {
	return func(ids []itemID) func(Version) []byte {
		return func(v Version) []byte {
			m := operation("MoveItem")
			m.raw("<m:ToFolderId>")
			to.write(m)
			m.raw("</m:ToFolderId>")
			writeIDs(m, ids)
			if v >= Exchange2010SP1 {
				m.raw("<m:ReturnNewItemIds>false</m:ReturnNewItemIds>") // nobody needs them
			}
			return m.end("MoveItem")
		}
	}
}

func markRead(ids []itemID) func(Version) []byte {
	return func(v Version) []byte {
		attrs := []string{"ConflictResolution", "AutoResolve", "MessageDisposition", "SaveOnly", "SendMeetingInvitationsOrCancellations", "SendToNone"}
		if v >= Exchange2013 {
			attrs = append(attrs, "SuppressReadReceipts", "true")
		}
		m := operation("UpdateItem", attrs...)
		m.raw("<m:ItemChanges>")
		for _, id := range ids {
			m.raw("<t:ItemChange>")
			id.write(m)
			m.raw(`<t:Updates><t:SetItemField><t:FieldURI FieldURI="message:IsRead"/><t:Message><t:IsRead>true</t:IsRead></t:Message></t:SetItemField></t:Updates></t:ItemChange>`)
		}
		return m.raw("</m:ItemChanges>").end("UpdateItem")
	}
}

func subscribe(f folderRef) func(Version) []byte {
	return func(Version) []byte {
		m := operation("Subscribe")
		m.raw("<m:StreamingSubscriptionRequest><t:FolderIds>")
		f.write(m)
		m.raw("</t:FolderIds><t:EventTypes>")
		for _, e := range []string{"CopiedEvent", "CreatedEvent", "MovedEvent", "NewMailEvent"} {
			m.element("t:EventType", e)
		}
		return m.raw("</t:EventTypes></m:StreamingSubscriptionRequest>").end("Subscribe")
	}
}

func getStreamingEvents(subscription string, minutes int) func(Version) []byte {
	return func(Version) []byte {
		m := operation("GetStreamingEvents")
		m.raw("<m:SubscriptionIds>").element("t:SubscriptionId", subscription).raw("</m:SubscriptionIds>")
		return m.element("m:ConnectionTimeout", strconv.Itoa(minutes)).end("GetStreamingEvents")
	}
}

func unsubscribe(subscription string) func(Version) []byte {
	return func(Version) []byte {
		return operation("Unsubscribe").element("m:SubscriptionId", subscription).end("Unsubscribe")
	}
}
