// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {DelegationView, NodeState, NodeTerms, NodeView, Pool} from "../../contracts/types/NodeTypes.sol";

import {Fixture} from "./Fixture.sol";

/// @notice Owners, and those who stake on nodes of others, in any order, and what must hold of stake in every order.
abstract contract Stakers is Fixture {
    uint256 public constant ACTORS = 3;
    uint256 public constant STAKERS = 3;

    address[] public stakers;
    string public wrong;
    /// @dev What was reached, so that a run that does nothing is noticed.
    uint256 public delegations;
    uint256 public shared;
    uint256 public burned;
    uint256 public penalties;
    /// @dev Challenges that are neither answered nor called missed.
    uint256 public bonds;
    mapping(address node => mapping(address owner => uint256)) public bondsOf;
    mapping(address node => bool) public wasSlashed;
    /// @dev By another account than its owner, now or before: the others need not be asked.
    mapping(address node => bool) public isStakedOn;
    /// @dev When a node last checked in, or a batch of it became final; 0: not since it was registered.
    mapping(address node => uint256) public lastSign;
    uint256 private _began;

    /// @dev A share of each pool was worth this much before the call: wei over shares.
    struct Prices {
        Pool active;
        Pool unbonding;
    }

    /// @dev Coins there are and a node's active stake, before something that may charge it for absence.
    struct Charge {
        uint256 supply;
        uint256 active;
    }

    function nodeCount() public view virtual returns (uint256);

    function _nodeAt(uint256 index) internal view virtual returns (Node memory);

    /// @dev One of the nodes that work; the others only judge.
    function _node(uint256 pick) internal view returns (Node memory) {
        return _nodeAt(pick % ACTORS);
    }

    function _complain(string memory what) internal {
        wrong = what;
    }

    function _makeStakers() internal {
        _began = vm.getBlockTimestamp();
        for (uint256 i; i < STAKERS; ++i) {
            stakers.push(staker(string.concat("staker ", vm.toString(i)), 20_000 * VCN));
        }
    }

    // ---- nodes

    function moveStake(uint256 whose, uint96 amount, uint8 kind) external {
        Node memory node = _node(whose);
        amount = uint96(bound(amount, 1, 3_000 * VCN));
        uint40 unlockAt = stakes.nodeOf(node.id).unlockAt;
        Prices memory before = _pricesOf(node.id);
        Charge memory charge = _chargeOf(node.id);
        vm.prank(node.owner);
        if (kind % 5 == 0) stakes.stake(node.id, amount);
        else if (kind % 5 == 1) stakes.unbond(node.id, amount);
        else if (kind % 5 == 2) stakes.rebond(node.id, amount);
        else if (kind % 5 == 3) stakes.unjail(node.id);
        else if (stakes.withdraw(node.id) != 0 && vm.getBlockTimestamp() < unlockAt) _complain("stake left too early");
        if (_charged(node.id, charge) == 0) _requirePrices(node.id, before);
    }

    /// @dev Out of jail or back from an exit, as soon as that is possible.
    function comeBack(uint256 whose) external {
        Node memory node = _node(whose);
        NodeView memory shown = stakes.nodeOf(node.id);
        if (vm.getBlockTimestamp() < shown.jailedUntil) vm.warp(shown.jailedUntil);
        if (shown.activeStake < 2_000 * VCN) {
            Charge memory charge = _chargeOf(node.id);
            vm.prank(node.owner);
            stakes.stake(node.id, 2_000 * VCN - shown.activeStake);
            _charged(node.id, charge);
        }
        if (shown.state != NodeState.Jailed) return;
        vm.prank(node.owner);
        stakes.unjail(node.id);
    }

    function checkIn(uint256 whose) external {
        address node = _node(whose).id;
        Charge memory charge = _chargeOf(node);
        vm.prank(node);
        stakes.checkIn(node);
        _charged(node, charge);
        lastSign[node] = vm.getBlockTimestamp();
    }

    function penalize(uint256 whose) external {
        address node = _node(whose).id;
        Charge memory charge = _chargeOf(node);
        stakes.penalizeOffline(node);
        if (_charged(node, charge) == 0) _complain("a penalty of nothing");
    }

    function claimRewards(uint256 whose) external {
        Node memory node = _nodeAt(whose % nodeCount());
        address payout = stakes.payoutOf(node.id);
        uint256 before = coin.balanceOf(payout);
        uint256 held = coin.balanceOf(address(stakes));
        uint96 amount = settlement.claim(node.id);
        uint256 forOthers = coin.balanceOf(address(stakes)) - held;
        if (coin.balanceOf(payout) + forOthers != before + amount) {
            _complain("rewards go to the payout and to stakers");
        }
        if (forOthers != 0) ++shared;
        if (forOthers != 0 && stakes.termsOf(node.id).delegatedStake == 0) _complain("no delegator stakes here");
    }

    function challenge(uint256 who, uint256 whose) external {
        Node memory by = _node(who);
        vm.prank(by.owner);
        stakes.challengeLiveness(_node(whose).id, by.id);
        ++bonds;
        bondsOf[_node(whose).id][by.owner] = 1;
    }

    function endChallenge(uint256 who, uint256 whose, bool answer) external {
        Node memory by = _node(who);
        Node memory node = _node(whose);
        address paid = answer ? stakes.payoutOf(node.id) : by.owner;
        uint256 before = coin.balanceOf(paid);
        uint16 counted = stakes.nodeOf(node.id).checkInDays;
        if (answer) {
            vm.prank(node.id);
            stakes.answerLiveness(node.id, by.owner);
        } else {
            stakes.missLiveness(node.id, by.owner);
        }
        --bonds;
        bondsOf[node.id][by.owner] = 0;
        if (coin.balanceOf(paid) != before + profile.minDeposit) _complain("a bond goes to who earned it, or back");
        if (stakes.nodeOf(node.id).checkInDays + 1 < counted) _complain("two misses take one day at most");
    }

    // ---- those who stake on them

    function moveDelegation(uint256 who, uint256 whose, uint96 amount, uint8 kind) external {
        address one = stakers[who % STAKERS];
        address id = _node(whose).id;
        if (kind % 8 > 5) return _leave(one, id);
        Prices memory before = _pricesOf(id);
        DelegationView memory had = stakes.delegationOf(id, one);
        uint256 coins = coin.balanceOf(one);
        Charge memory charge = _chargeOf(id);
        if (kind % 8 < 3) {
            amount = uint96(bound(amount, profile.minDeposit, 8_000 * VCN));
            delegated(one, id, amount);
            ++delegations;
            isStakedOn[id] = true;
            _requireTenth(id);
        } else {
            uint96 most = kind % 8 == 5 ? had.unbonding : had.active;
            amount = uint96(bound(amount, 1, most == 0 ? 1 : most));
            vm.prank(one);
            if (kind % 8 == 5) stakes.rebond(id, amount);
            else stakes.unbond(id, amount);
        }
        if (_charged(id, charge) != 0) return;
        _requireKept(had, stakes.delegationOf(id, one), coins - coin.balanceOf(one));
        _requirePrices(id, before);
    }

    /// @dev Withdraws what has matured, or tries before.
    function _leave(address one, address id) private {
        Prices memory before = _pricesOf(id);
        DelegationView memory had = stakes.delegationOf(id, one);
        uint256 coins = coin.balanceOf(one);
        vm.prank(one);
        uint96 amount = stakes.withdraw(id);
        if (vm.getBlockTimestamp() < had.unlockAt) _complain("stake of others left too early");
        if (amount != had.unbonding || coin.balanceOf(one) != coins + amount) _complain("a withdrawal is the bucket");
        _requirePrices(id, before);
    }

    function claimShare(uint256 who, uint256 whose) external {
        address one = stakers[who % STAKERS];
        address id = _node(whose).id;
        uint96 shown = stakes.delegationOf(id, one).rewards;
        uint256 coins = coin.balanceOf(one);
        vm.prank(one);
        uint96 amount = stakes.claimRewards(id);
        if (amount != shown) _complain("a claim is what was shown");
        if (coin.balanceOf(one) != coins + amount) _complain("rewards go to who earned them");
    }

    function changeTerms(uint256 whose, uint16 bps, bool confirm) external {
        Node memory node = _node(whose);
        if (confirm) return stakes.confirmCommission(node.id);
        vm.prank(node.owner);
        stakes.setCommission(node.id, uint16(bound(bps, 0, 10_000)));
    }

    // ---- what must hold of every move

    function _chargeOf(address id) internal view returns (Charge memory) {
        return Charge(coin.totalSupply(), stakes.nodeOf(id).activeStake);
    }

    /// @dev What absence has cost the node since: all of it burned, none in a week with a sign, and less than all.
    function _charged(address id, Charge memory before) internal returns (uint256 lost) {
        lost = before.supply - coin.totalSupply();
        if (lost == 0) return 0;
        burned += lost;
        ++penalties;
        wasSlashed[id] = true;
        uint256 sign = lastSign[id] == 0 ? _began : lastSign[id];
        if (vm.getBlockTimestamp() < sign + 7 days) _complain("a penalty within a week");
        if (lost > before.active) _complain("a penalty of more than there is");
    }

    function _pricesOf(address id) internal view returns (Prices memory prices) {
        (prices.active, prices.unbonding) = stakes.poolsOf(id);
    }

    /// @dev The price of a share falls only by a slash.
    function _requirePrices(address id, Prices memory before) internal {
        (Pool memory active, Pool memory unbonding) = stakes.poolsOf(id);
        if (_fell(before.active, active) || _fell(before.unbonding, unbonding)) _complain("a share's price fell");
    }

    function _fell(Pool memory before, Pool memory later) private pure returns (bool) {
        if (before.shares == 0 || later.shares == 0) return false;
        return uint256(later.total) * before.shares < uint256(before.total) * later.shares;
    }

    /// @dev Moving earns nothing, and costs at most the roundings.
    function _requireKept(DelegationView memory had, DelegationView memory has, uint256 paid) private {
        uint256 before = uint256(had.active) + had.unbonding + paid;
        uint256 later = uint256(has.active) + has.unbonding;
        if (later > before) _complain("moving earned something");
        if (later + 4 < before) _complain("moving cost more than roundings");
    }

    function _requireTenth(address id) private {
        uint256 own = stakes.termsOf(id).ownStake;
        if (own < profile.minStake || own * 10 < stakes.nodeOf(id).activeStake) _complain("the owner keeps a tenth");
    }

    /// @dev What everyone has in a node: the owner first.
    function _holdings(Node memory node) internal view returns (DelegationView[] memory held) {
        held = new DelegationView[](STAKERS + 1);
        held[0] = stakes.delegationOf(node.id, node.owner);
        if (!isStakedOn[node.id]) return held;
        for (uint256 i; i < STAKERS; ++i) {
            held[i + 1] = stakes.delegationOf(node.id, stakers[i]);
        }
    }

    /// @dev A slash takes the same part of everyone's, active and unbonding, and never more than half and the roundings.
    function _requireInProportion(Node memory node, Prices memory before, DelegationView[] memory had) internal {
        (Pool memory active, Pool memory unbonding) = stakes.poolsOf(node.id);
        DelegationView[] memory has = _holdings(node);
        for (uint256 i; i < has.length; ++i) {
            _requirePart(had[i].active, has[i].active, before.active.total, active.total);
            _requirePart(had[i].unbonding, has[i].unbonding, before.unbonding.total, unbonding.total);
        }
    }

    function _requirePart(uint256 had, uint256 has, uint256 before, uint256 later) private {
        if (before == 0) return;
        uint256 due = had * later / before;
        if (has > due + 2 || has + 2 < due) _complain("a slash is in proportion");
        if (has + 3 < had - had / 2) _complain("a slash takes at most half");
    }

    /// @notice What all have in a node is in its pools, and what they may claim is held for them.
    function holdingsHold(Node memory node) public {
        (Pool memory active, Pool memory unbonding) = stakes.poolsOf(node.id);
        if (active.shares < active.total || unbonding.shares < unbonding.total) _complain("a share is above a wei");
        DelegationView[] memory held = _holdings(node);
        NodeTerms memory terms = stakes.termsOf(node.id);
        uint256 rewards;
        uint256 atStake;
        uint256 leaving;
        for (uint256 i; i < held.length; ++i) {
            atStake += held[i].active;
            leaving += held[i].unbonding;
            rewards += held[i].rewards;
        }
        if (atStake > active.total || leaving > unbonding.total) _complain("more is owed than is there");
        if (active.total > atStake + 200 || unbonding.total > leaving + 200) _complain("stake without an owner");
        if (rewards > uint256(terms.rewardsHeld) + settlement.bookOf(node.id).rewards) _complain("rewards owed twice");
        bool low = terms.ownStake != 0 && terms.ownStake < profile.minStake;
        if (low && !wasSlashed[node.id]) _complain("own stake below the minimum");
        if (coin.balanceOf(node.id) != 0) _complain("an operator key was paid");
    }
}
