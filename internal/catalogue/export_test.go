package catalogue

import "port53/internal/finding"

// JudgeErrors is what HOST-ICMP judges by, for counts that no host at hand has.
func JudgeErrors(n [2]int) (finding.State, string) { return judgeErrors(n) }
