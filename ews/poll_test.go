package ews

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/ews/ewstest"
	"github.com/maildriver/maildriver/spool"
)

// files lists the raw mails in the incoming directory of a driver's spool, whole
// or not.
func files(t *testing.T, d *Driver) (names []string) {
	t.Helper()
	err := filepath.WalkDir(d.set.common.Spool.Dir(spool.Incoming), func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() && strings.HasPrefix(e.Name(), "EWS_") {
			names = append(names, path)
		}
		return err
	})
	if !errors.Is(err, fs.ErrNotExist) {
		require.NoError(t, err)
	}
	return names
}

// E4: characters that XML forbids do not keep any mail of the batch back.
func TestE4ForbiddenCharacters(t *testing.T) {
	t.Parallel()
	srv := newServer(t)
	raw, subjects := mails(3)
	srv.AddItem("Inbox", ewstest.Item{Raw: raw[0]})
	srv.AddItem("Inbox", ewstest.Item{Raw: raw[1], Subject: "a&#x0;b&#x1F;c \x01"})
	srv.AddItem("Inbox", ewstest.Item{Raw: raw[2]})
	var h taker
	res := poll(t, newDriver(t, srv), &h)
	assert.Equal(t, subjects, h.subjects)
	assert.Empty(t, res.Failures)
	assert.Zero(t, srv.Count("Inbox"))

	n, err := parseText(`<t:Message xmlns:t="` + nsTypes + `"><t:Subject>a&#x0;b&#x1F;c</t:Subject></t:Message>`)
	require.NoError(t, err)
	assert.Equal(t, "a\uFFFDb\uFFFDc", n.kid("Subject").value())
}

// cutAnswer answers GetItem with half of a content and breaks the connection.
func cutAnswer(before string, n int) *ewstest.Response {
	return &ewstest.Response{Write: func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/xml")
		_, _ = io.WriteString(w, before+strings.Repeat("QUJD", n))
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}}
}

// contentStart is an answer to GetItem up to the content.
const contentStart = `<s:Envelope xmlns:s="` + nsSOAP + `"><s:Body><m:GetItemResponse xmlns:m="` + nsMessages + `" xmlns:t="` + nsTypes + `"><m:ResponseMessages>` +
	`<m:GetItemResponseMessage ResponseClass="Success"><m:ResponseCode>NoError</m:ResponseCode><m:Items><t:Message><t:MimeContent CharacterSet="UTF-8">`

// E6: half a mail is an error of the session, and leaves nothing.
func TestE6CutInContent(t *testing.T) {
	t.Parallel()
	srv := newServer(t)
	raw, subjects := mails(2)
	srv.Add(raw...)
	srv.Intercept(ewstest.Nth("GetItem", 1, cutAnswer(contentStart, 50_000)))
	d := newDriver(t, srv)
	var h taker
	_, err := d.Poll(t.Context(), &h)
	require.Error(t, err)
	assert.True(t, driver.KindOf(err).Retryable(), err)
	assert.Empty(t, h.subjects)
	assert.Empty(t, files(t, d))
	assert.Equal(t, 2, srv.Count("Inbox"))
	poll(t, d, &h)
	assert.Equal(t, subjects, h.subjects)
}

// The same behind the end tag of the content: the mail is whole, the answer is
// not, and nobody may take it.
func TestCutBehindContent(t *testing.T) {
	t.Parallel()
	srv := newServer(t)
	srv.Add(mail("one"))
	srv.Intercept(ewstest.Nth("GetItem", 1, cutAnswer(contentStart+"QUJD</t:MimeContent><t:Subject>", 1)))
	d := newDriver(t, srv)
	var h taker
	_, err := d.Poll(t.Context(), &h)
	require.Error(t, err)
	assert.Empty(t, h.subjects)
	poll(t, d, &h)
	assert.Equal(t, []string{"one"}, h.subjects)
}

// E7: one content that is no base64 does not keep the others back.
func TestE7InvalidBase64(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"rubbish":             "!!!!" + strings.Repeat("QUJD", 40_000),
		"late":                strings.Repeat("QUJD", 40_000) + "?",
		"cut in the middle":   "QUJDQ",
		"behind the padding":  "QQ==QUJD",
		"reference":           "QUJD&#65;",
		"nothing but padding": "====",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := newServer(t)
			raw, subjects := mails(3)
			srv.AddItem("Inbox", ewstest.Item{Raw: raw[0]})
			bad := srv.AddItem("Inbox", ewstest.Item{Raw: raw[1], Base64: text})
			srv.AddItem("Inbox", ewstest.Item{Raw: raw[2]})
			d := newDriver(t, srv)
			var h taker
			res := poll(t, d, &h)
			assert.Equal(t, []string{subjects[0], subjects[2]}, h.subjects)
			require.Len(t, res.Failures, 1)
			assert.Equal(t, driver.ID(bad), res.Failures[0].ID)
			var unreadable *driver.UnreadableError
			require.ErrorAs(t, res.Failures[0], &unreadable)
			require.ErrorIs(t, res.Failures[0], errBase64)
			assert.Equal(t, 1, srv.Count("Inbox"))
			assert.Empty(t, files(t, d))
			assert.Len(t, srv.Operations("GetItem"), 1, "one request for all")
		})
	}
}

// E28: of a batch that failed in part, each mail has its own outcome.
func TestE28HalfFailedBatch(t *testing.T) {
	t.Parallel()
	srv := newServer(t)
	raw, subjects := mails(3)
	srv.Add(raw[0])
	gone := srv.AddItem("Inbox", ewstest.Item{Raw: raw[1]})
	corrupt := srv.AddItem("Inbox", ewstest.Item{Raw: raw[2], Code: "ErrorItemCorrupt"})
	srv.Intercept(func(r *ewstest.Request) *ewstest.Response {
		if r.Operation == "GetItem" {
			srv.RemoveItem(gone)
		}
		return nil
	})
	var h taker
	res := poll(t, newDriver(t, srv), &h)
	assert.Equal(t, subjects[:1], h.subjects)
	assert.Equal(t, 1, res.Gone)
	require.Len(t, res.Failures, 1)
	assert.Equal(t, driver.ID(corrupt), res.Failures[0].ID)
	var re *ResponseError
	require.ErrorAs(t, res.Failures[0], &re)
	assert.Equal(t, "ErrorItemCorrupt", re.Code)
	assert.NotEmpty(t, re.RequestID)
	assert.Equal(t, srv.Operations("GetItem")[0].Header.Get("Client-Request-Id"), re.RequestID)
	assert.Equal(t, 1, srv.Count("Inbox"))
}

// What a batch left out because the server was busy is asked for again.
func TestBatchProcessingStopped(t *testing.T) {
	t.Parallel()
	srv := newServer(t)
	raw, subjects := mails(3)
	srv.Add(raw...)
	first := srv.Items("Inbox")[0]
	msg := func(class, code, body string) string {
		return `<m:GetItemResponseMessage ResponseClass="` + class + `"><m:ResponseCode>` + code + `</m:ResponseCode>` + body + `</m:GetItemResponseMessage>`
	}
	srv.Intercept(ewstest.Nth("GetItem", 1, ewstest.Answer("GetItem",
		msg("Success", "NoError", `<m:Items><t:Message><t:MimeContent>`+encode(raw[0])+`</t:MimeContent><t:ItemId Id="`+first.ID+`"/></t:Message></m:Items>`)+
			msg("Error", "ErrorServerBusy", `<m:MessageXml><t:Value Name="BackOffMilliseconds">1</t:Value></m:MessageXml><m:Items/>`)+
			msg("Warning", "ErrorBatchProcessingStopped", "<m:Items/>"))))
	var h taker
	res := poll(t, newDriver(t, srv), &h)
	assert.Equal(t, subjects, h.subjects)
	assert.Empty(t, res.Failures)
	require.Len(t, srv.Operations("GetItem"), 2)
	assert.Len(t, srv.Operations("GetItem")[1].Attrs("ItemId", "Id"), 2)
}

func encode(raw []byte) string {
	var b bytes.Buffer
	w := base64.NewEncoder(base64.StdEncoding, &b)
	_, _ = w.Write(raw)
	_ = w.Close()
	return b.String()
}

// Answers that are not those to the request end the session and cost no mail.
func TestAnswersOutOfPlace(t *testing.T) {
	t.Parallel()
	item := func(id string) string {
		return `<m:GetItemResponseMessage ResponseClass="Success"><m:ResponseCode>NoError</m:ResponseCode><m:Items><t:Message><t:MimeContent>QUJD</t:MimeContent><t:ItemId Id="` + id + `"/></t:Message></m:Items></m:GetItemResponseMessage>`
	}
	for name, answer := range map[string]func(a, b string) *ewstest.Response{
		"too few":      func(a, _ string) *ewstest.Response { return ewstest.Answer("GetItem", item(a)) },
		"too many":     func(a, b string) *ewstest.Response { return ewstest.Answer("GetItem", item(a)+item(b)+item(b)) },
		"changed over": func(a, b string) *ewstest.Response { return ewstest.Answer("GetItem", item(b)+item(a)) },
		"none":         func(_, _ string) *ewstest.Response { return ewstest.Answer("GetItem", "") },
		"a login page": func(_, _ string) *ewstest.Response {
			return &ewstest.Response{Header: http.Header{"Content-Type": {"text/html"}}, Body: []byte("<html><body>Outlook</body></html>")}
		},
		"no item": func(_, _ string) *ewstest.Response { return &ewstest.Response{Status: http.StatusNotFound} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := newServer(t)
			raw, _ := mails(2)
			srv.Add(raw...)
			items := srv.Items("Inbox")
			srv.Intercept(func(r *ewstest.Request) *ewstest.Response {
				if r.Operation == "GetItem" {
					return answer(items[0].ID, items[1].ID)
				}
				return nil
			})
			var h taker
			_, err := newDriver(t, srv).Poll(t.Context(), &h)
			require.Error(t, err)
			assert.Equal(t, 2, srv.Count("Inbox"))
			if !strings.HasPrefix(name, "too ") {
				assert.Empty(t, h.subjects)
			}
		})
	}
}

// E20: a mail that was changed meanwhile is marked with its new change key, once.
func TestE20Conflict(t *testing.T) {
	t.Parallel()
	srv := newServer(t)
	raw, subjects := mails(3)
	srv.Add(raw...)
	changed := srv.Items("Inbox")[1].ID
	h := driver.HandlerFunc(func(_ context.Context, ev *driver.Event) error {
		if string(ev.MailID) == changed {
			srv.ChangeItem(changed, false)
		}
		return nil
	})
	d := newDriver(t, srv, WithMarkRead())
	res := poll(t, d, h)
	assert.Equal(t, len(subjects), res.Delivered)
	assert.Empty(t, res.Failures)
	for _, it := range srv.Items("Inbox") {
		assert.True(t, it.Read)
	}
	assert.Equal(t, "FindItem GetItem UpdateItem GetItem UpdateItem", operations(srv))
	assert.Len(t, srv.Operations("UpdateItem")[1].Attrs("ItemId", "Id"), 1)

	// A second conflict is an error of that mail; it is known as done.
	srv.Add(mail("again"))
	srv.Intercept(func(r *ewstest.Request) *ewstest.Response {
		if r.Operation == "UpdateItem" {
			return ewstest.Refusal("UpdateItem", "ErrorIrresolvableConflict", "Konflikt", 0, 1)
		}
		return nil
	})
	srv.ForgetRequests()
	res = poll(t, d, h)
	assert.Equal(t, 1, res.Delivered)
	require.Len(t, res.Failures, 1)
	assert.Equal(t, "ErrorIrresolvableConflict", codeOf(res.Failures[0]))
	assert.Equal(t, "FindItem GetItem UpdateItem GetItem UpdateItem", operations(srv))
	assert.Zero(t, poll(t, d, h).Delivered)
}

// E21: what is gone needs no deleting, and the way to delete is said literally.
func TestE21Delete(t *testing.T) {
	t.Parallel()
	for how, c := range map[DeleteType]struct{ word, folder string }{
		HardDelete:         {"HardDelete", "RecoverableItemsPurges"},
		SoftDelete:         {"SoftDelete", "RecoverableItemsDeletions"},
		MoveToDeletedItems: {"MoveToDeletedItems", "DeletedItems"},
	} {
		t.Run(c.word, func(t *testing.T) {
			t.Parallel()
			srv := newServer(t)
			raw, _ := mails(3)
			srv.Add(raw...)
			ids := srv.Items("Inbox")
			d := newDriver(t, srv, WithDelete(how))
			res := poll(t, d, driver.HandlerFunc(func(_ context.Context, ev *driver.Event) error {
				srv.RemoveItem(ids[1].ID) // by another client
				return nil
			}))
			assert.Equal(t, 3, res.Delivered)
			assert.Equal(t, 3, res.Removed)
			assert.Empty(t, res.Failures)
			require.Len(t, srv.Operations("DeleteItem"), 1)
			assert.Equal(t, c.word, srv.Operations("DeleteItem")[0].Attr("DeleteType"))
			assert.Zero(t, srv.Count("Inbox"))
			assert.Equal(t, 2, srv.Count(c.folder))
			assert.Zero(t, poll(t, d, new(taker)).Listed)
		})
	}
}

// Mails that the server does not let go are reported, and the others go.
func TestRemovalRefused(t *testing.T) {
	t.Parallel()
	srv := newServer(t)
	raw, _ := mails(3)
	srv.Add(raw...)
	d := newDriver(t, srv, WithRequestSize(2))
	srv.Intercept(ewstest.Nth("DeleteItem", 2, ewstest.Refusal("DeleteItem", "ErrorCannotDeleteObject", "Nein", 0, 1)))
	var h taker
	res := poll(t, d, &h)
	assert.Equal(t, 3, res.Delivered)
	assert.Equal(t, 2, res.Removed)
	require.Len(t, res.Failures, 1)
	assert.Equal(t, "ErrorCannotDeleteObject", codeOf(res.Failures[0]))
	res = poll(t, d, &h)
	assert.Equal(t, 1, res.Known)
	assert.Equal(t, 1, res.Removed)
	assert.Len(t, h.subjects, 3)
}

func TestMove(t *testing.T) {
	t.Parallel()
	for _, version := range [][3]int{{8, 1, 436}, {14, 0, 639}, {15, 1, 2507}} {
		srv := newServer(t, ewstest.WithVersion(version[0], version[1], version[2]))
		srv.AddFolder("MsgFolderRoot/Done")
		srv.AddFolder("MsgFolderRoot/Bad")
		raw, _ := mails(4)
		srv.Add(raw...)
		d := newDriver(t, srv, WithMoveTo("msgfolderroot/Done"), WithFailedFolder("MsgFolderRoot/Bad"))
		n := 0
		res := poll(t, d, driver.HandlerFunc(func(context.Context, *driver.Event) error {
			if n++; n == 2 {
				return driver.Reject(errors.New("no"))
			}
			return nil
		}))
		assert.Equal(t, 3, res.Delivered)
		assert.Equal(t, 1, res.Failed)
		assert.Equal(t, 3, srv.Count("MsgFolderRoot/Done"))
		assert.Equal(t, 1, srv.Count("MsgFolderRoot/Bad"))
		assert.Zero(t, srv.Count("Inbox"))
		// The folder is gone and another takes its name: its id is found anew.
		srv.RemoveFolder("MsgFolderRoot/Done")
		srv.AddFolder("MsgFolderRoot/Done")
		srv.Add(mail("later"))
		assert.Equal(t, 1, poll(t, d, new(taker)).Removed)
		assert.Equal(t, 1, srv.Count("MsgFolderRoot/Done"))
	}
}

func TestMarkReadAndUnread(t *testing.T) {
	t.Parallel()
	srv := newServer(t)
	raw, subjects := mails(4)
	for i, r := range raw {
		srv.AddItem("Inbox", ewstest.Item{Raw: r, Read: i == 1})
	}
	d := newDriver(t, srv, WithMarkRead(), WithUnread(true))
	var h taker
	poll(t, d, &h)
	assert.Equal(t, []string{subjects[0], subjects[2], subjects[3]}, h.subjects)
	assert.Equal(t, 4, srv.Count("Inbox"))
	srv.ForgetRequests()
	assert.Zero(t, poll(t, d, &h).Delivered)
	assert.Equal(t, "FindItem", operations(srv), "nothing is marked twice")
}

// Items of every type are mails.
func TestOtherItems(t *testing.T) {
	t.Parallel()
	srv := newServer(t)
	raw, subjects := mails(4)
	for i, typ := range []string{"MeetingRequest", "PostItem", "CalendarItem", "SomethingNew"} {
		srv.AddItem("Inbox", ewstest.Item{Raw: raw[i], Type: typ})
	}
	var h taker
	poll(t, newDriver(t, srv), &h)
	assert.Equal(t, subjects, h.subjects)
}

// The order is that of arrival, whatever that of the server is.
func TestOrder(t *testing.T) {
	t.Parallel()
	srv := newServer(t, ewstest.WithPageLimit(3))
	raw, subjects := mails(10)
	for i := range raw {
		it := ewstest.Item{Raw: raw[(i*7)%10]}
		it.Received = it.Received.AddDate(2026, 0, (i*7)%10)
		srv.AddItem("Inbox", it)
	}
	for _, opts := range [][]driver.Option{nil, {WithSyncState(t.TempDir())}} {
		var h taker
		poll(t, newDriver(t, srv, append(opts, driver.WithLeaveOnServer(true))...), &h)
		assert.Equal(t, subjects, h.subjects)
	}
}

func TestElementsOfAnswers(t *testing.T) {
	t.Parallel()
	var nothing *node
	assert.Empty(t, nothing.value())
	assert.Empty(t, nothing.attr("x"))
	assert.Nil(t, nothing.kid("a", "b"))
	assert.Nil(t, nothing.find("a"))
	assert.Empty(t, nothing.all())
	for _, id := range []string{"", strings.Repeat("x", maxItemID+1), "a\nb"} {
		_, ok := itemOf(&node{kids: []*node{{name: xml.Name{Local: "ItemId"}, attrs: []xml.Attr{{Name: xml.Name{Local: "Id"}, Value: id}}}}})
		assert.False(t, ok, fmt.Sprintf("%.20q", id))
	}
}
