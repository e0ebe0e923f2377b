package driver

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/maildriver/maildriver/mime"
)

// A Field is one output parameter by its documented name.
type Field struct{ Name, Value string }

// Fields returns the documented output parameters in a stable order: booleans
// as True and False, times as RFC 3339 in UTC, lists separated by ';'. Numbered
// fields count from 0 without a gap.
func (ev *Event) Fields() []Field {
	l := fieldList{}
	l.add("Attachments", strconv.Itoa(ev.Attachments()))
	l.add("HasAttach", boolean(ev.Attachments() > 0))
	l.add("Subject", ev.Subject)
	l.add("Prefix", ev.Prefix)
	l.add("SenderAddress", ev.SenderAddress)
	l.add("SenderName", ev.SenderName)
	if reply := addressList(ev.ReplyTo); reply != "" {
		l.add("SenderReplyNames", reply)
	} else {
		l.add("SenderReplyNames", ev.SenderAddress)
	}
	l.add("ReceiverAddress", ev.Receiver.Addr)
	name := ev.Receiver.Name
	if name == "" {
		name = ev.Receiver.Addr
	}
	l.add("ReceiverName", name)
	l.add("ToList", addressList(ev.To))
	l.add("CcList", addressList(ev.Cc))
	l.add("Sent", timestamp(ev.Sent))
	l.add("Received", timestamp(ev.Received))
	l.add("Message-ID", "<"+ev.MessageID+">")
	l.add("In-Reply-To", ev.headerText("In-Reply-To", " "))
	l.add("References", ev.headerText("References", " "))
	l.add("Keywords", ev.headerText("Keywords", ","))
	l.add("Priority", strconv.Itoa(ev.Priority))
	l.add("TextNote", ev.Text)
	l.add("text/plain charset", ev.TextCharset)
	l.add("HTMLBody", ev.HTML)
	l.add("text/html charset", ev.HTMLCharset)
	l.add("LoopbackCandidate", boolean(ev.LoopbackCandidate))
	l.add("OrigMsgFile", ev.OriginalTextFile())
	ev.dsnFields(&l)
	for i, f := range ev.Files {
		n := strconv.Itoa(i)
		l.add("FileName"+n, f.Name)
		l.add("FilePath"+n, f.Path)
		l.add("FileType"+n, f.Type)
		l.add("FileSubtype"+n, f.Subtype)
		l.add("FileCharset"+n, f.Charset)
		l.add("FileIsInline"+n, boolean(f.Inline))
		l.add("FileIsSupplemental"+n, boolean(f.Supplemental))
		l.add("Temp"+n, boolean(true))
	}
	k := 0
	for i, f := range ev.Files {
		l.add("LocalFileToGlobal"+strconv.Itoa(k), fmt.Sprintf("FilePath%d|%s", i, f.Path))
		k++
	}
	if orig := ev.OriginalTextFile(); orig != "" {
		l.add("LocalFileToGlobal"+strconv.Itoa(k), "OrigMsgFile|"+orig)
	}
	l.add("SiebelChannelProfile", ev.Profile)
	l.add("SiebelChannelType", "Email")
	l.add("SiebelChannelTypeString", ev.Protocol+"SMTP")
	return l
}

func (ev *Event) dsnFields(l *fieldList) {
	l.add("IsDeliveryStatusNotification", boolean(ev.DSN != nil))
	if ev.DSN == nil {
		return
	}
	action, status, recipient := "", "", ""
	if r := ev.DSN.Primary(); r != nil {
		action, status, recipient = string(r.Action), r.Status, r.FinalRecipient.Value
		if status == "" {
			status = r.StatusRaw
		}
	}
	l.add("DsnAction", action)
	l.add("DsnStatus", status)
	l.add("DsnFinalRecipient", recipient)
	l.add("DsnOriginalEnvelopeId", ev.DSN.OriginalEnvelopeID)
	l.add("DsnContent", ev.DSNContent)
}

// headerText gives all fields of that name, decoded and unfolded.
func (ev *Event) headerText(name, sep string) string {
	if ev.Message == nil {
		return ""
	}
	var values []string
	for _, v := range ev.Message.Header.Values(name) {
		if v = strings.TrimSpace(mime.DecodeText(v)); v != "" {
			values = append(values, v)
		}
	}
	return strings.Join(values, sep)
}

type fieldList []Field

func (l *fieldList) add(name, value string) { *l = append(*l, Field{name, value}) }

func boolean(b bool) string {
	if b {
		return "True"
	}
	return "False"
}

func timestamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// addressList joins addresses with ';'. A display name that holds one is
// quoted, so the list can be split again.
func addressList(list []mime.Address) string {
	var b strings.Builder
	for i, a := range list {
		if i > 0 {
			b.WriteByte(';')
		}
		switch {
		case a.Name == "":
			b.WriteString(a.Addr)
		case strings.ContainsAny(a.Name, `()<>[]:;@\,"`):
			b.WriteByte('"')
			b.WriteString(strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(a.Name))
			b.WriteString(`" <` + a.Addr + ">")
		default:
			b.WriteString(a.Name + " <" + a.Addr + ">")
		}
	}
	return b.String()
}
