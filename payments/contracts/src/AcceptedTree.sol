// SPDX-License-Identifier: GPL-3.0-or-later
pragma solidity 0.8.37;

/// @notice One accepted task. `task` is the keccak256 of its id.
struct Accepted {
    bytes32 task;
    bytes32 pixelRoot;
    uint128 amount;
}

/// @notice A neighbour on the way from a leaf to the root.
struct Beside {
    bytes32 hash;
    uint128 sum;
    bool left;
}

/// @title Sum tree over what a voucher pays for
/// @notice Every inner node commits to the sums of its two sides, so whoever shows a task in the tree of a paid
/// voucher shows how much of the payment was for it. A false tree can show less than was paid, never more.
/// @dev Leaves are hashed twice and inner nodes are longer than leaves: neither can pass for the other.
library AcceptedTree {
    /// @notice The longest way: more tasks than any job has.
    uint256 internal constant MOST = 32;

    /// @notice The hash of a leaf; its sum is the amount.
    function leaf(Accepted memory accepted) internal pure returns (bytes32) {
        return keccak256(
            bytes.concat(keccak256(abi.encode(accepted.task, accepted.pixelRoot, accepted.amount)))
        );
    }

    /// @notice The hash of an inner node.
    function node(bytes32 left, uint256 leftSum, bytes32 right, uint256 rightSum) internal pure returns (bytes32) {
        return keccak256(abi.encode(left, leftSum, right, rightSum));
    }

    /// @notice Whether the tree under `root`, whose sum is `total`, holds `accepted`.
    function holds(bytes32 root, uint256 total, Accepted memory accepted, Beside[] memory way)
        internal
        pure
        returns (bool)
    {
        if (way.length > MOST) return false;
        bytes32 hash = leaf(accepted);
        uint256 sum = accepted.amount;
        for (uint256 i = 0; i < way.length; i++) {
            Beside memory b = way[i];
            hash = b.left ? node(b.hash, b.sum, hash, sum) : node(hash, sum, b.hash, b.sum);
            sum += b.sum;
        }
        return hash == root && sum == total;
    }
}
