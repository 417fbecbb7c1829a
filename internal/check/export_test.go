package check

// JudgeErrors is what HOST-ICMP judges by, for counts that no host at hand has.
func JudgeErrors(n [2]int) (State, string) { return judgeErrors(n) }
