package check

// JudgeErrors is what HOST-ICMP judges by, for counts that no host at hand has.
func JudgeErrors(n [2]int) (State, string) { return judgeErrors(n) }

// A Row is one of the table of behaviour.
type Row struct {
	Product Product
	Marks   []string
}

// Table returns the table of behaviour, and how many questions it is of.
func Table() (rows []Row, questions int) {
	for _, s := range samples() {
		rows = append(rows, Row{s.product, s.marks})
	}
	return rows, len(oddities())
}

// Matched names the product that marks are most like, and how sure that is.
func Matched(marks []string) (Product, int) {
	best, share, next := matched(marks)
	return best.product, certainty(share, next)
}

// Described is what identification takes from a reply.
func Described(raw []byte) (mark string, software Software) {
	m := &Reply{Raw: raw}
	_ = m.Parse(raw)
	return markOf(m), bannerSoftware(textOf(m))
}

// Oddities returns the messages of a fingerprint, with what they are.
func Oddities() (about []string, messages [][]byte) {
	for _, o := range oddities() {
		about, messages = append(about, o.about), append(messages, o.msg())
	}
	return about, messages
}
