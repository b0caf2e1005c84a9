// SPDX-License-Identifier: GPL-3.0-or-later
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {Agreement, Agreements, State} from "../src/Agreements.sol";
import {Claims} from "../src/Claims.sol";
import {Jobs, Windows} from "../src/Jobs.sol";
import {StakeVault} from "../src/StakeVault.sol";

/// @notice A token that counts and refuses nothing: proofs are about who is told to be paid what.
contract CountingToken {
    mapping(address => uint256) public paid;

    function transfer(address to, uint256 amount) external returns (bool) {
        paid[to] += amount;
        return true;
    }
}

/// @notice The market's rules on money without signatures: whatever is signed, these hold.
contract BareMarket is Claims {
    constructor(IERC20 token_) Jobs(token_, Windows(1, 1, 1, 4, 1)) {}

    function _vault() internal pure override returns (StakeVault) {
        return StakeVault(address(0));
    }

    function _disputes() internal pure override returns (address) {
        return address(0);
    }

    function set(uint64 job, uint128 budget, uint128 committed) external {
        (_jobs[job].budget, _jobs[job].committed) = (budget, committed);
    }

    function set(bytes32 id, address payee, uint128 cap, uint128 paid, State state) external {
        _agreements[id].cap = cap;
        _agreements[id].paid = paid;
        _agreements[id].payee = payee;
        _agreements[id].state = state;
    }

    function commit(uint64 job, uint128 amount) external {
        _commit(job, amount);
    }

    function pay(bytes32 id, uint128 cumulative) external returns (uint128) {
        return _payUpTo(id, _agreements[id], cumulative, 0);
    }

    function committedOf(uint64 job) external view returns (uint128) {
        return _jobs[job].committed;
    }

    function paidOf(bytes32 id) external view returns (uint128) {
        return _agreements[id].paid;
    }
}

/// @notice Proved for all values by `halmos` (functions named check_), and tried with some by forge (testFuzz_).
contract ProofsTest {
    address private constant PAYEE = address(0xAEE);
    CountingToken private token;
    BareMarket private market;

    function setUp() public {
        token = new CountingToken();
        market = new BareMarket(IERC20(address(token)));
    }

    /// Two payments up to any two figures, in any order and whatever was paid before: the payee has the greatest
    /// of them and no more, within the cap; the same figure again pays nothing.
    function check_no_double_pay(uint128 cap, uint128 before, uint128 one, uint128 two) public {
        if (before > cap) return;
        market.set("a", PAYEE, cap, before, State.Open);
        if (!_pays(one)) one = 0;
        if (!_pays(two)) two = 0;
        uint256 greatest = _greatest(before, _greatest(one, two));
        assert(token.paid(PAYEE) == greatest - before);
        assert(market.paidOf("a") == greatest);
        assert(greatest <= cap);
        if (two > 0) assert(market.pay("a", two) == 0);
    }

    /// A closed agreement pays nothing, whatever is asked.
    function check_closed_pays_nothing(uint128 cap, uint128 before, uint128 figure) public {
        market.set("a", PAYEE, cap, before, State.Closed);
        _pays(figure);
        assert(token.paid(PAYEE) == 0);
    }

    /// From any state within the budget, any two commitments leave it within the budget.
    function check_caps_within_budget(uint128 budget, uint128 committed, uint128 one, uint128 two) public {
        if (committed > budget) return;
        market.set(7, budget, committed);
        uint256 sum = committed;
        if (_commits(one)) sum += one;
        if (_commits(two)) sum += two;
        assert(market.committedOf(7) == sum);
        assert(sum <= budget);
    }

    function testFuzz_no_double_pay(uint128 cap, uint128 before, uint128 one, uint128 two) public {
        check_no_double_pay(cap, before, one, two);
    }

    function testFuzz_closed_pays_nothing(uint128 cap, uint128 before, uint128 figure) public {
        check_closed_pays_nothing(cap, before, figure);
    }

    function testFuzz_caps_within_budget(uint128 budget, uint128 committed, uint128 one, uint128 two) public {
        check_caps_within_budget(budget, committed, one, two);
    }

    function _pays(uint128 figure) private returns (bool done) {
        (done,) = address(market).call(abi.encodeCall(market.pay, ("a", figure)));
    }

    function _commits(uint128 amount) private returns (bool done) {
        (done,) = address(market).call(abi.encodeCall(market.commit, (7, amount)));
    }

    function _greatest(uint256 a, uint256 b) private pure returns (uint256) {
        return a > b ? a : b;
    }
}
